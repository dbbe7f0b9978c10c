#include "device/gpu.hpp"

#include <algorithm>

namespace fico::device {

Gpu::Gpu(const std::vector<std::uint32_t>& sms_per_unit, const Settings& settings)
    : model_(sms_per_unit, settings) {
  float sms = 0;
  for (auto unit_sms : sms_per_unit) sms_.push_back(sms += static_cast<float>(unit_sms));
}

std::uint32_t Gpu::start(double now_us, const profile::Kernel& kernel, Units units, int priority,
                         std::uint32_t /*client*/) {
  const auto count = units.hi - units.lo;
  const auto half = std::max<std::size_t>(1, sms_.size() / 2);
  Demand demand;
  demand.curve = {kernel.duration_us, sms_.data(), static_cast<std::uint32_t>(sms_.size())};
  demand.alone_us = kernel.duration_us[count - 1];
  demand.alone_sms = sms_[count - 1];
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
