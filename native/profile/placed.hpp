// How long a kernel takes on units other than the first ones, on which its profile was measured.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "profile/kernel.hpp"

namespace fico::profile {

// SMs of the units [0, n), index n - 1.
struct Sms {
  float up_to[kMaxUnits] = {};

  Sms() = default;
  Sms(const std::uint32_t* per_unit, std::uint32_t units) {
    float sum = 0;
    for (std::uint32_t unit = 0; unit < std::min(units, kMaxUnits); ++unit) {
      up_to[unit] = sum += static_cast<float>(per_unit[unit]);
    }
  }
};
static_assert(std::is_trivially_copyable_v<Sms>);

// Alone on units [lo, hi), in µs. The last unit of an H200 has 12 SMs and the others 8: it is what
// they have left of several GPCs. Large clusters find no room there, and others are as much faster
// as there are more SMs (docs/driver-facts.md).
inline double placed_us(const Kernel& kernel, std::uint32_t lo, std::uint32_t hi, const Sms& sms) {
  const std::uint32_t last = hi - lo - 1;
  const double first_us = kernel.duration_us[last];
  const float first_sms = sms.up_to[last];
  const float here_sms = sms.up_to[hi - 1] - (lo > 0 ? sms.up_to[lo - 1] : 0);
  if (here_sms <= first_sms) return first_us;
  const double one_more_us = kernel.duration_us[std::min(last + 1, kMaxUnits - 1)];
  const double one_less_us = kernel.duration_us[last > 0 ? last - 1 : 0];
  const double spread_us = std::max(one_more_us, first_us * first_sms / here_sms);
  return kernel.clustered * one_less_us + (1 - kernel.clustered) * spread_us;
}

}  // namespace fico::profile
