#include "device/fluid_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace fico::device {
namespace {

// Below this, a difference is rounding: shares are sums of fractions of SMs.
constexpr double kEpsilon = 1e-9;

using Room = std::array<double, kSmCount>;

// Serves the kernels `level` (indices into `kernels`, all of one priority) from `room` and takes
// from it what they got. A kernel that wants less than its equal part leaves the rest to the
// others, so this repeats until no kernel is newly satisfied: at most once per kernel.
void serve_level(std::span<const RunningKernel> kernels, std::vector<std::size_t> level, Room& room,
                 std::span<double> shares) {
  while (!level.empty()) {
    Room sharers{};
    for (auto k : level) {
      for (unsigned sm = 0; sm < kSmCount; ++sm) sharers[sm] += kernels[k].sms.contains(sm);
    }
    std::vector<std::size_t> satisfied;
    for (auto k : level) {
      double equal_part = 0;
      for (unsigned sm = 0; sm < kSmCount; ++sm) {
        if (kernels[k].sms.contains(sm)) equal_part += room[sm] / sharers[sm];
      }
      shares[k] = equal_part;
      if (equal_part + kEpsilon >= demand_sms(kernels[k].shape, kernels[k].sms)) {
        satisfied.push_back(k);
      }
    }
    const bool all_served = satisfied.empty();
    Room taken{};
    for (auto k : all_served ? level : satisfied) {
      const double demand = demand_sms(kernels[k].shape, kernels[k].sms);
      const double scale = shares[k] > demand ? demand / shares[k] : 1;
      shares[k] *= scale;
      for (unsigned sm = 0; sm < kSmCount; ++sm) {
        if (kernels[k].sms.contains(sm)) taken[sm] += room[sm] / sharers[sm] * scale;
      }
    }
    for (unsigned sm = 0; sm < kSmCount; ++sm) room[sm] = std::max(0.0, room[sm] - taken[sm]);
    if (all_served) return;
    std::erase_if(
        level, [&](std::size_t k) { return std::ranges::find(satisfied, k) != satisfied.end(); });
  }
}

}  // namespace

double alone_us(const KernelShape& shape, double sms) {
  if (shape.blocks <= 0 || shape.us_per_block <= 0) return 0;
  if (sms <= kEpsilon) return std::numeric_limits<double>::infinity();
  const double useful = shape.saturates_sms ? std::min<double>(sms, shape.saturates_sms) : sms;
  const double waves = shape.blocks / (std::max(1U, shape.blocks_per_sm) * useful);
  return std::ceil(waves - kEpsilon) * shape.us_per_block;
}

double demand_sms(const KernelShape& shape, const SmSet& allowed) {
  return std::min<double>(allowed.count(),
                          std::ceil(shape.blocks / std::max(1U, shape.blocks_per_sm)));
}

void share_sms(std::span<const RunningKernel> kernels, std::span<double> shares) {
  if (kernels.size() == 1) {
    shares[0] = demand_sms(kernels[0].shape, kernels[0].sms);
    return;
  }
  std::vector<std::size_t> order(kernels.size());
  for (std::size_t k = 0; k < order.size(); ++k) order[k] = k;
  std::ranges::sort(order, {}, [&](std::size_t k) { return std::pair(kernels[k].priority, k); });
  Room room;
  room.fill(1);
  for (auto from = order.begin(); from != order.end();) {
    const auto to = std::find_if(from, order.end(), [&](std::size_t k) {
      return kernels[k].priority != kernels[*from].priority;
    });
    serve_level(kernels, {from, to}, room, shares);
    from = to;
  }
}

void progress_rates(std::span<const RunningKernel> kernels, std::span<double> rates) {
  share_sms(kernels, rates);
  for (std::size_t k = 0; k < kernels.size(); ++k) {
    rates[k] = 1 / alone_us(kernels[k].shape, rates[k]);
  }
}

}  // namespace fico::device
