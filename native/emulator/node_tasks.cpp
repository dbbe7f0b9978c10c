#include "emulator/node_tasks.hpp"

#include "emulator/event.hpp"
#include "emulator/transfer.hpp"

namespace fico::emulator {
namespace {

CUfunction handle_of(const CUDA_KERNEL_NODE_PARAMS_v2& params) {
  return params.func ? params.func : reinterpret_cast<CUfunction>(params.kern);
}

Kernel build(Runtime& rt, Context& context, const CUDA_KERNEL_NODE_PARAMS_v2& params,
             std::span<const CUlaunchAttribute> attributes, int priority) {
  return make_kernel(rt, context, handle_of(params),
                     {{params.gridDimX, params.gridDimY, params.gridDimZ},
                      {params.blockDimX, params.blockDimY, params.blockDimZ},
                      params.sharedMemBytes},
                     params.kernelParams, params.extra, attributes, priority);
}

}  // namespace

Kernel kernel_of(Runtime& rt, const CUDA_KERNEL_NODE_PARAMS_v2& params) {
  auto& function = function_of(rt, handle_of(params));
  auto* context = function.module->context;
  if (!context) context = params.func ? &current_context(rt) : &context_of(rt, params.ctx);
  return build(rt, *context, params, {}, kLeastPriority);
}

Kernel changed_kernel(Runtime& rt, const Kernel& old, const CUDA_KERNEL_NODE_PARAMS_v2& params) {
  return build(rt, context_of(rt, old.context), params, old.attributes, old.priority);
}

CUDA_KERNEL_NODE_PARAMS_v2 widen(const CUDA_KERNEL_NODE_PARAMS_v1& params) {
  CUDA_KERNEL_NODE_PARAMS_v2 wide{};
  wide.func = params.func;
  wide.gridDimX = params.gridDimX;
  wide.gridDimY = params.gridDimY;
  wide.gridDimZ = params.gridDimZ;
  wide.blockDimX = params.blockDimX;
  wide.blockDimY = params.blockDimY;
  wide.blockDimZ = params.blockDimZ;
  wide.sharedMemBytes = params.sharedMemBytes;
  wide.kernelParams = params.kernelParams;
  wide.extra = params.extra;
  return wide;
}

NodeTask kernel_task(Kernel kernel) {
  return {CU_GRAPH_NODE_TYPE_KERNEL, std::move(kernel), nullptr};
}

NodeTask copy_task(const CUDA_MEMCPY3D* description) {
  require_value(description != nullptr);
  return {CU_GRAPH_NODE_TYPE_MEMCPY, copy_of(*description), nullptr};
}

NodeTask memset_task(const CUDA_MEMSET_NODE_PARAMS* params) {
  require_value(params != nullptr);
  return {CU_GRAPH_NODE_TYPE_MEMSET, memset_of(*params), nullptr};
}

NodeTask host_task(const CUDA_HOST_NODE_PARAMS* params) {
  require_value(params != nullptr && params->fn != nullptr);
  HostCall call;
  call.function = params->fn;
  call.user_data = params->userData;
  return {CU_GRAPH_NODE_TYPE_HOST, call, nullptr};
}

NodeTask event_task(Runtime& rt, CUgraphNodeType type, CUevent event) {
  rt.events.get(event);
  return {type, Marker{}, event};
}

}  // namespace fico::emulator
