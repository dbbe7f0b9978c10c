// What the blocks of a kernel take of an SM.
#pragma once

#include <algorithm>
#include <cstdint>

#include "profile/kernel.hpp"

namespace fico::profile {

// Of an SM with compute capability 9.0 (CUDA C++ Programming Guide, technical specifications).
constexpr std::uint32_t kSmThreads = 2048;
constexpr std::uint32_t kSmRegisters = 65536;
constexpr std::uint32_t kSmSharedBytes = 233472;
constexpr std::uint32_t kSmBlocks = 32;
// The system's own part of each block's shared memory.
constexpr std::uint32_t kReservedSharedBytes = 1024;

// Fills Kernel::footprint from `blocks_per_sm` and from what one block takes.
inline void set_footprint(Kernel& kernel, std::uint32_t threads, std::uint32_t registers_per_thread,
                          std::uint32_t shared_bytes) {
  const double taken[kSmResources] = {
      double{threads} / kSmThreads,
      double{threads} * registers_per_thread / kSmRegisters,
      (double{shared_bytes} + kReservedSharedBytes) / kSmSharedBytes,
      1.0 / kSmBlocks,
  };
  for (std::uint32_t r = 0; r < kSmResources; ++r) {
    kernel.footprint[r] =
        static_cast<float>(std::min(1.0, taken[r] * std::max(1U, kernel.blocks_per_sm)));
  }
}

}  // namespace fico::profile
