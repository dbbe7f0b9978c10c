// How fast one kernel is alone on so many SMs.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fico::device {

/// Durations alone at growing numbers of SMs; both arrays are the caller's and must outlive it.
/// Between two points the throughput, 1 / duration, is linear in the SMs; below the first it is in
/// proportion to them; beyond the last it stays.
struct Curve {
  const float* duration_us = nullptr;
  const float* sms = nullptr;
  std::uint32_t points = 0;

  /// Parts of the kernel that are done in one µs on the equivalent of `x` SMs.
  double throughput(double x) const {
    if (x >= sms[points - 1]) return 1 / double{duration_us[points - 1]};
    const auto above = static_cast<std::uint32_t>(std::upper_bound(sms, sms + points, x) - sms);
    const double left_sms = above ? sms[above - 1] : 0;
    const double left = above ? 1 / double{duration_us[above - 1]} : 0;
    const double right = 1 / double{duration_us[above]};
    return left + (right - left) * (x - left_sms) / (sms[above] - left_sms);
  }
};

}  // namespace fico::device
