// Kernels that are described and not measured: those of the emulated device.
//
// One SM holds `blocks_per_sm` of the blocks at once and each takes `us_per_block`, so alone on s
// SMs the kernel needs
//
//   alone_us = ceil(blocks / (blocks_per_sm * min(s, saturates_sms))) * us_per_block
//
// (whole waves; without a saturation point the minimum is s). With a curve it takes what the curve
// says instead, whatever its blocks are.
#pragma once

#include <array>
#include <cstdint>

#include "device/h200.hpp"
#include "device/model.hpp"
#include "device/sm_set.hpp"

namespace fico::device {

/// What the duration of one launch depends on. Trivially copyable and without padding, for shared
/// memory.
struct KernelShape {
  double blocks = 0;
  double us_per_block = 0;
  std::uint32_t blocks_per_sm = 1;
  /// No gain beyond this many SMs; 0 is no such point.
  std::uint32_t saturates_sms = 0;
  /// Duration on the units [0, n), index n - 1; `curve_points` of them. The last one holds for all
  /// larger numbers of units too. Between them the throughput is linear in the SMs.
  std::array<float, kUnits> curve_us{};
  std::uint64_t curve_points = 0;
  /// As in profile::Kernel.
  std::array<float, profile::kResources> sensitivity{};
  std::array<float, profile::kResources> pressure{};
  std::array<float, profile::kSmResources> footprint{};
};

/// Duration in µs on `sms` SMs, at least 1.
double alone_us(const KernelShape& shape, unsigned sms);

/// Duration on 1, 2, … all SMs.
using SmDurations = std::array<float, kSmCount>;

/// What the kernel asks of a model whose cells are the SMs. `durations` must outlive the demand.
Demand demand_of(const KernelShape& shape, const SmSet& sms, int priority, SmDurations& durations);

}  // namespace fico::device
