// How fast kernels run that share the SMs of one GPU.
//
// A kernel is a number of blocks. One SM holds `blocks_per_sm` of them at once and each takes
// `us_per_block`, so alone on s SMs it needs
//
//   alone_us = ceil(blocks / (blocks_per_sm * min(s, saturates_sms))) * us_per_block
//
// (whole waves; without a saturation point the minimum is s). The model is fluid: a kernel that
// has the equivalent of x SMs, x real, goes forward at the rate 1 / alone_us(x). Who has what:
//  - higher priorities (lower numbers, as in CUDA) are served first and take what they can fill;
//  - kernels of one priority share every SM they may both use equally;
//  - a kernel fills at most ceil(blocks / blocks_per_sm) SMs; what it leaves goes to the others.
//    A saturated kernel fills the SMs that it does not profit from, as a real one does.
// Left out: blocks that are already resident are not preempted on a real GPU, and memory
// bandwidth is not shared (it enters through saturates_sms only).
#pragma once

#include <cstdint>
#include <span>

#include "device/sm_set.hpp"

namespace fico::device {

/// What the duration of one launch depends on. Trivially copyable, for shared memory.
struct KernelShape {
  double blocks = 0;
  double us_per_block = 0;
  std::uint32_t blocks_per_sm = 1;
  /// No gain beyond this many SMs; 0 is no such point.
  std::uint32_t saturates_sms = 0;
};

/// A kernel that is on the device now.
struct RunningKernel {
  SmSet sms;
  KernelShape shape;
  /// Lower is more urgent. As wide as the rest, so that there is no padding.
  std::int64_t priority = 0;
};

/// Duration in µs of emulated time on the equivalent of `sms` SMs; infinite where `sms` is 0.
double alone_us(const KernelShape& shape, double sms);

/// The most SMs that the kernel can fill with its blocks.
double demand_sms(const KernelShape& shape, const SmSet& allowed);

/// SM equivalents of each kernel: `shares` is as long as `kernels`.
void share_sms(std::span<const RunningKernel> kernels, std::span<double> shares);

/// Part of each kernel that is done in one µs; 0 where it is starved, infinite where it takes no
/// time at all.
void progress_rates(std::span<const RunningKernel> kernels, std::span<double> rates);

}  // namespace fico::device
