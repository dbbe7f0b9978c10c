// Copies and memsets as the API describes them.
#pragma once

#include <cuda.h>

#include "emulator/work.hpp"

namespace fico::emulator {

/// A copy of plain bytes; the kinds of memory are found out. INVALID_VALUE where a side is null.
Copy linear_copy(std::uint64_t target, std::uint64_t source, std::size_t bytes);
/// Arrays are not emulated: NOT_SUPPORTED.
Copy copy_of(const CUDA_MEMCPY3D& description);
Copy copy_of(const CUDA_MEMCPY2D& description);
/// The description of a copy, as a graph node gives it back.
CUDA_MEMCPY3D describe(const Copy& copy);

Memset memset_of(const CUDA_MEMSET_NODE_PARAMS& params);
CUDA_MEMSET_NODE_PARAMS describe(const Memset& memset);

/// The source, packed: what a copy from pageable memory reads at the call.
void stage(Copy& copy);

}  // namespace fico::emulator
