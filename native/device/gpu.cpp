#include "device/gpu.hpp"

#include <algorithm>

namespace fico::device {

Gpu::Gpu(const std::vector<std::uint32_t>& sms_per_unit, const Settings& settings)
    : units_(static_cast<std::uint32_t>(sms_per_unit.size())),
      sms_(sms_per_unit.data(), units_),
      model_(sms_per_unit, settings) {}

std::uint32_t Gpu::start(double now_us, const profile::Kernel& kernel, Units units, int priority,
                         std::uint32_t /*client*/) {
  const auto count = units.hi - units.lo;
  const auto half = std::max(1U, units_ / 2);
  Demand demand;
  demand.curve = {kernel.duration_us, sms_.up_to, units_};
  demand.alone_us = profile::placed_us(kernel, units.lo, units.hi, sms_);
  demand.alone_sms = sms_.up_to[count - 1];
  demand.half_us = kernel.duration_us[half - 1];
  demand.blocks = std::max(1U, kernel.blocks);
  demand.blocks_per_sm = std::max(1U, kernel.blocks_per_sm);
  std::copy_n(kernel.sensitivity, profile::kResources, demand.sensitivity.begin());
  std::copy_n(kernel.pressure, profile::kResources, demand.pressure.begin());
  demand.footprint = footprint_of(kernel.footprint);
  demand.cells = ~Cells{} >> (kMaxCells - count) << units.lo;
  demand.priority = priority;
  return model_.start(now_us, demand, now_us);
}

}  // namespace fico::device
