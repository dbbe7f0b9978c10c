// Kernels that must not be confined: they wait inside for all their blocks to run at once, without
// having been launched cooperatively, so on a partition too small for the grid they would never
// end.
#pragma once

#include <cuda.h>

namespace fico::hook {

// Whether a kernel has to run on all units: by its name, from a built-in list (collectives of NCCL
// and NVSHMEM) and FICO_WHOLE_GPU_KERNELS (parts of names, separated by commas). Any thread; a
// look-up in a table after the first launch of a kernel.
bool needs_whole_gpu(CUfunction function);

}  // namespace fico::hook
