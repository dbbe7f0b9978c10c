// What is known of a kernel by its handle alone, kept from its first launch on.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace fico::hook {

struct KernelFacts {
  std::uint64_t name_hash;  // profile::name_hash of its mangled name
  // It has to run on all units: it waits inside for all its blocks to run at once, without having
  // been launched cooperatively, so on a partition too small for the grid it would never end. By
  // its name, from a built-in list (collectives of NCCL and NVSHMEM) and FICO_WHOLE_GPU_KERNELS
  // (parts of names, separated by commas).
  bool needs_whole_gpu;
};

// Any thread; a look-up in a table after the first launch of a kernel.
[[gnu::hot]] KernelFacts kernel_of(CUfunction function);

}  // namespace fico::hook
