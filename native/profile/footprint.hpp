// What the blocks of a kernel take of an SM.
#pragma once

#include <algorithm>
#include <array>
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

// What one block takes.
struct BlockNeeds {
  std::uint32_t threads;
  std::uint32_t registers_per_thread;
  std::uint32_t shared_bytes;
};

// The parts that `blocks_per_sm` blocks take of an SM, for Kernel::footprint.
inline std::array<float, kSmResources> footprint_of(const BlockNeeds& block,
                                                    std::uint32_t blocks_per_sm) {
  const double threads = block.threads;
  const double shared_bytes = block.shared_bytes;
  const double taken[kSmResources] = {
      threads / kSmThreads,
      threads * block.registers_per_thread / kSmRegisters,
      (shared_bytes + kReservedSharedBytes) / kSmSharedBytes,
      1.0 / kSmBlocks,
  };
  std::array<float, kSmResources> parts;
  for (std::uint32_t r = 0; r < kSmResources; ++r) {
    parts[r] = static_cast<float>(std::min(1.0, taken[r] * std::max(1U, blocks_per_sm)));
  }
  return parts;
}

}  // namespace fico::profile
