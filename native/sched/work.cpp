#include "sched/work.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace fico::sched {
namespace {

using profile::Kernel;

// A right size is at most so much slower than all units.
constexpr double kEpsilon = 0.05;

// The value with the most time among the kernels.
template <typename Value, std::size_t kValues>
Value majority(std::span<const Kernel> kernels, Value Kernel::* member, std::uint32_t last_unit) {
  double time_us[kValues] = {};
  for (const Kernel& kernel : kernels) {
    time_us[static_cast<std::size_t>(kernel.*member)] += kernel.duration_us[last_unit];
  }
  return static_cast<Value>(std::max_element(time_us, time_us + kValues) - time_us);
}

Kernel combined(std::span<const Kernel> kernels, std::uint32_t unit_count) {
  if (kernels.size() == 1) return kernels[0];
  Kernel sum{};
  unit_count = std::clamp(unit_count, 1U, profile::kMaxUnits);
  double gaps_us = 0;
  for (const Kernel& kernel : kernels.subspan(1)) gaps_us += kernel.gap_us;
  double blocks = 0;
  double per_sm = 0;
  double total_us = 0;
  const std::uint32_t last_unit = unit_count - 1;
  for (const Kernel& kernel : kernels) {
    const double time_us = kernel.duration_us[last_unit];
    for (std::uint32_t n = 0; n < unit_count; ++n) sum.duration_us[n] += kernel.duration_us[n];
    for (std::uint32_t r = 0; r < profile::kResources; ++r) {
      sum.sensitivity[r] += static_cast<float>(kernel.sensitivity[r] * time_us);
      sum.pressure[r] += static_cast<float>(kernel.pressure[r] * time_us);
    }
    sum.clustered += static_cast<float>(kernel.clustered * time_us);
    blocks += kernel.blocks * time_us;
    per_sm += kernel.blocks_per_sm * time_us;
    total_us += time_us;
  }
  for (std::uint32_t n = 0; n < unit_count; ++n) sum.duration_us[n] += static_cast<float>(gaps_us);
  const double weight = total_us > 0 ? 1 / (total_us + gaps_us) : 0;
  for (std::uint32_t r = 0; r < profile::kResources; ++r) {
    sum.sensitivity[r] *= static_cast<float>(weight);
    sum.pressure[r] *= static_cast<float>(weight);
  }
  const double kernels_only = total_us > 0 ? 1 / total_us : 0;
  sum.clustered *= static_cast<float>(kernels_only);
  sum.gap_us = kernels[0].gap_us;
  sum.blocks = std::max(1U, static_cast<std::uint32_t>(std::lround(blocks * kernels_only)));
  sum.blocks_per_sm = std::max(1U, static_cast<std::uint32_t>(std::lround(per_sm * kernels_only)));
  sum.kernel_class = majority<profile::Class, 3>(kernels, &Kernel::kernel_class, last_unit);
  sum.bound = majority<profile::Bound, 3>(kernels, &Kernel::bound, last_unit);
  sum.right_units = static_cast<std::uint16_t>(unit_count);
  const double limit_us = sum.duration_us[last_unit] * (1 + kEpsilon);
  while (sum.right_units > 1 && sum.duration_us[sum.right_units - 2] <= limit_us) --sum.right_units;
  return sum;
}

// One past the last kernel of the work that begins at `first`.
std::size_t end_of_work(const profile::Trace& trace, std::size_t first, const Cut& cut,
                        std::uint32_t last_unit) {
  const auto& kernels = trace.kernels;
  std::size_t last = first + 1;
  if (!trace.from_graph) return last;
  double length_us = kernels[first].duration_us[last_unit];
  for (; last < kernels.size(); ++last) {
    const double more_us = kernels[last].gap_us + kernels[last].duration_us[last_unit];
    const bool changes = kernels[last].kernel_class != kernels[last - 1].kernel_class;
    if (length_us + more_us > cut.longest_us) break;
    if (changes && length_us >= cut.shortest_us) break;
    length_us += more_us;
  }
  return last;
}

}  // namespace

Plan plan(const profile::Trace& trace, const Cut& cut, std::uint32_t unit_count) {
  Plan result;
  result.from_graph = trace.from_graph;
  const std::span<const Kernel> kernels = trace.kernels;
  unit_count = std::clamp(unit_count, 1U, profile::kMaxUnits);
  double before_us = 0;
  for (std::size_t first = 0; first < kernels.size();) {
    const std::size_t last = end_of_work(trace, first, cut, unit_count - 1);
    Work& work = result.work.emplace_back();
    work.facts = combined(kernels.subspan(first, last - first), unit_count);
    work.before_us = static_cast<float>(before_us);
    before_us += work.facts.duration_us[unit_count - 1];
    work.first = static_cast<std::uint32_t>(first);
    work.last = static_cast<std::uint32_t>(last);
    first = last;
  }
  result.request = {combined(kernels, unit_count), static_cast<std::uint32_t>(kernels.size())};
  double remaining_us[profile::kMaxUnits] = {};
  for (auto work = result.work.rbegin(); work != result.work.rend(); ++work) {
    for (std::uint32_t n = 0; n < unit_count; ++n) {
      remaining_us[n] += static_cast<double>(work->facts.gap_us) + work->facts.duration_us[n];
      work->remaining_us[n] = static_cast<float>(remaining_us[n]);
    }
  }
  return result;
}

}  // namespace fico::sched
