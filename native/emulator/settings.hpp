// What the environment says about the emulated device; read once, at cuInit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "device/h200.hpp"

namespace fico::emulator {

struct Settings {
  /// FICO_EMULATED_STATE: the file that the processes of one emulated GPU share.
  std::string state_path;
  /// FICO_EMULATED_DILATION: real time is emulated time times this.
  double dilation = 1;
  /// FICO_EMULATED_INSTANT=1: work takes no modelled time, and no state is shared.
  bool instant = false;
  /// FICO_EMULATED_SEED: in instant mode, work is held back and reordered at random as far as CUDA
  /// leaves its order open.
  std::optional<std::uint64_t> seed;
  /// FICO_EMULATED_TAKE_US: real time between two looks at what was submitted. Who launches quickly
  /// would else wait, at every launch, for memory that the device's thread has just touched.
  double take_us = 2;
  /// CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=SIZE[K|M|G]: device memory that this process may have.
  std::uint64_t memory_limit_bytes = device::kMemoryBytes;
};

/// Wrong values are reported on stderr, one line each, and their defaults are taken.
Settings read_settings();

}  // namespace fico::emulator
