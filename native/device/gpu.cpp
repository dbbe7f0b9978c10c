#include "device/gpu.hpp"

#include <algorithm>
#include <cmath>

namespace fico::device {

Gpu::Gpu(const std::vector<std::uint32_t>& sms_per_unit, const Settings& settings)
    : model_(sms_per_unit, settings) {
  float sms = 0;
  for (auto unit_sms : sms_per_unit) sms_.push_back(sms += static_cast<float>(unit_sms));
}

// Durations were measured on the first units; as many others may have more SMs, or fewer. That is
// worth what it changes of the kernel's waves, and less than one unit.
double Gpu::alone_us(const profile::Kernel& kernel, Units units) const {
  const std::size_t last = units.hi - units.lo - 1;
  const double first_us = kernel.duration_us[last];
  const float first_sms = sms_[last];
  const float sms = sms_[units.hi - 1] - (units.lo > 0 ? sms_[units.lo - 1] : 0);
  if (sms == first_sms) return first_us;
  const double loads =
      static_cast<double>(std::max(1U, kernel.blocks)) / std::max(1U, kernel.blocks_per_sm);
  const double waves = std::ceil(loads / sms) / std::ceil(loads / first_sms);
  const double one_more_us = kernel.duration_us[std::min(last + 1, sms_.size() - 1)];
  const double one_less_us = kernel.duration_us[last > 0 ? last - 1 : 0];
  return std::max(one_more_us, std::min(one_less_us, first_us * waves));
}

std::uint32_t Gpu::start(double now_us, const profile::Kernel& kernel, Units units, int priority,
                         std::uint32_t /*client*/) {
  const auto count = units.hi - units.lo;
  const auto half = std::max<std::size_t>(1, sms_.size() / 2);
  Demand demand;
  demand.curve = {kernel.duration_us, sms_.data(), static_cast<std::uint32_t>(sms_.size())};
  demand.alone_us = alone_us(kernel, units);
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
