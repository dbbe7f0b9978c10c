// What the device model takes from measurements and not from the profile of a kernel.
#pragma once

#include <array>

#include "profile/kernel.hpp"

namespace fico::device {

/// docs/device-model.md says what each does in the equations and how it was calibrated;
/// benchmarks/calibrate_model.py does it again.
struct Settings {
  /// How far the blocks of a kernel of several waves are out of step, 0 to 1. At 0 its room comes
  /// free all at once at the end of a wave, at 1 evenly over the time.
  double stagger = 0.5;
  /// A kernel of several waves ends unevenly: the part of the room of its last wave that is free,
  /// on average, while that runs.
  double drain = 0.15;
  /// Kernels whose blocks lie on the same SMs: the part of the SM's issue rate that they do not
  /// take from each other, 0 to 1. At 0 each has what its share of the room is, at 1 each runs as
  /// alone.
  double overlap = 0.1;
  /// How much longer the gap before a kernel is while kernels of other processes run. For those who
  /// drive the model: it sees a kernel when its gap is over.
  double shared_gap_us = 0.35;
  /// How much longer still, for each of them that runs on some of the kernel's SMs, does not come
  /// after it by priority, and has begun since the kernel before it did: queues take turns. For
  /// those who drive the model.
  double turn_us = 0.85;
  /// How a kernel's pressure grows with its speed: with this power of it.
  double activity_power = 1.5;
  /// Weight of sensitivity × pressure, for each resource.
  std::array<double, profile::kResources> interference{1, 1, 0.75};
};

}  // namespace fico::device
