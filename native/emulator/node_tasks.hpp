// Tasks of nodes from what the API describes them with; used by graphs and instances alike.
#pragma once

#include <cuda.h>

#include "emulator/graph.hpp"
#include "emulator/launch.hpp"

namespace fico::emulator {

/// A kernel in a context that is found as documented: that of the function; of a library's kernel
/// the given or the current one.
Kernel kernel_of(Runtime& rt, const CUDA_KERNEL_NODE_PARAMS_v2& params);
/// New parameters for a kernel that stays in its context and keeps its attributes.
Kernel changed_kernel(Runtime& rt, const Kernel& old, const CUDA_KERNEL_NODE_PARAMS_v2& params);
CUDA_KERNEL_NODE_PARAMS_v2 widen(const CUDA_KERNEL_NODE_PARAMS_v1& params);

NodeTask kernel_task(Kernel kernel);
NodeTask copy_task(const CUDA_MEMCPY3D* description);
NodeTask memset_task(const CUDA_MEMSET_NODE_PARAMS* params);
NodeTask host_task(const CUDA_HOST_NODE_PARAMS* params);
NodeTask event_task(Runtime& rt, CUgraphNodeType type, CUevent event);

}  // namespace fico::emulator
