#include "device/kernel_shape.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fico::device {
namespace {

// A kernel that takes no time would have no rate.
constexpr double kShortestUs = 1e-6;

constexpr std::array<float, kUnits> unit_sms() {
  std::array<float, kUnits> sms{};
  for (unsigned n = 1; n < kUnits; ++n) sms[n - 1] = static_cast<float>(n * kUnitSms);
  sms[kUnits - 1] = kSmCount;
  return sms;
}
constexpr auto kUnitSmsUpTo = unit_sms();

SmDurations one_to_all() {
  SmDurations sms;
  std::iota(sms.begin(), sms.end(), 1.0F);
  return sms;
}
const SmDurations kSms = one_to_all();

}  // namespace

double alone_us(const KernelShape& shape, unsigned sms) {
  if (shape.curve_points) {
    const auto points = static_cast<std::uint32_t>(shape.curve_points);
    const Curve curve{shape.curve_us.data(), kUnitSmsUpTo.data(), points};
    const auto* known = std::ranges::find(kUnitSmsUpTo, static_cast<float>(sms));
    const auto unit = static_cast<std::size_t>(known - kUnitSmsUpTo.begin());
    return unit < points ? double{shape.curve_us[unit]} : 1 / curve.throughput(sms);
  }
  if (shape.blocks <= 0 || shape.us_per_block <= 0) return 0;
  const double useful = shape.saturates_sms ? std::min(sms, shape.saturates_sms) : sms;
  const double waves = shape.blocks / (std::max(1U, shape.blocks_per_sm) * useful);
  return std::ceil(waves - 1e-9) * shape.us_per_block;
}

Demand demand_of(const KernelShape& shape, const SmSet& sms, int priority, SmDurations& durations) {
  for (unsigned n = 1; n <= kSmCount; ++n) {
    durations[n - 1] = static_cast<float>(std::max(kShortestUs, alone_us(shape, n)));
  }
  Demand demand;
  demand.curve = {durations.data(), kSms.data(), kSmCount};
  demand.alone_us = std::max(kShortestUs, alone_us(shape, std::max(1U, sms.count())));
  demand.alone_sms = sms.count();
  demand.half_us = durations[kUnits / 2 * kUnitSms - 1];
  demand.blocks = std::max(1.0, shape.blocks);
  demand.blocks_per_sm = std::max(1U, shape.blocks_per_sm);
  demand.sensitivity = shape.sensitivity;
  demand.pressure = shape.pressure;
  demand.footprint = footprint_of(shape.footprint);
  for (unsigned sm = 0; sm < kSmCount; ++sm) demand.cells.set(sm, sms.contains(sm));
  demand.priority = priority;
  return demand;
}

}  // namespace fico::device
