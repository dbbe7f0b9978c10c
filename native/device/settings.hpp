// What the device model takes from measurements and not from the profile of a kernel.
#pragma once

#include <array>

#include "profile/kernel.hpp"

namespace fico::device {

/// docs/device-model.md says what each does in the equations and how it was calibrated;
/// benchmarks/calibrate_model.py does it again.
struct Settings {
  /// Kernels whose blocks lie on the same SMs: the part of the SM's issue rate that they do not
  /// take from each other, 0 to 1. At 0 each has what its share of the room is, at 1 each runs as
  /// alone.
  double overlap = 0.2;
  /// A kernel of one wave that fills at least this part of the SMs leaves what it does not need as
  /// whole SMs; a smaller one lies on all of them.
  double dense_from = 1.0 / 3;
  /// How much longer the gap before a kernel is while kernels of other processes run. For those who
  /// drive the model: it sees a kernel when its gap is over.
  double shared_gap_us = 0.35;
  /// How much longer still, for each of them that runs on some of the kernel's SMs, does not come
  /// after it by priority, and has begun since the kernel before it did: queues take turns. For
  /// those who drive the model.
  double turn_us = 1.4;
  /// How a kernel's pressure grows with its speed: with this power of it.
  double activity_power = 1.5;
  /// Weight of sensitivity × pressure, for each resource.
  std::array<double, profile::kResources> interference{1, 1, 0.75};
};

}  // namespace fico::device
