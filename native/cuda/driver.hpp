// The driver entries that Fico itself calls, found in the real libcuda.so.1 and never through the
// interception. A driver too old for one of them has nullptr there.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

namespace fico::cuda {

// X(member, type of cudaTypedefs.h, exported symbol)
#define FICO_DRIVER(X)                                                                             \
  X(ctx_get_current, PFN_cuCtxGetCurrent_v4000, "cuCtxGetCurrent")                                 \
  X(ctx_push, PFN_cuCtxPushCurrent_v4000, "cuCtxPushCurrent_v2")                                   \
  X(ctx_pop, PFN_cuCtxPopCurrent_v4000, "cuCtxPopCurrent_v2")                                      \
  X(ctx_get_device, PFN_cuCtxGetDevice_v2000, "cuCtxGetDevice")                                    \
  X(device_get_uuid, PFN_cuDeviceGetUuid_v11040, "cuDeviceGetUuid_v2")                             \
  X(device_get_resource, PFN_cuDeviceGetDevResource_v12040, "cuDeviceGetDevResource")              \
  X(primary_state, PFN_cuDevicePrimaryCtxGetState_v7000, "cuDevicePrimaryCtxGetState")             \
  X(primary_retain, PFN_cuDevicePrimaryCtxRetain_v7000, "cuDevicePrimaryCtxRetain")                \
  X(primary_release, PFN_cuDevicePrimaryCtxRelease_v11000, "cuDevicePrimaryCtxRelease_v2")         \
  X(split_sms, PFN_cuDevSmResourceSplitByCount_v12040, "cuDevSmResourceSplitByCount")              \
  X(generate_desc, PFN_cuDevResourceGenerateDesc_v12040, "cuDevResourceGenerateDesc")              \
  X(green_create, PFN_cuGreenCtxCreate_v12040, "cuGreenCtxCreate")                                 \
  X(green_destroy, PFN_cuGreenCtxDestroy_v12040, "cuGreenCtxDestroy")                              \
  X(green_stream, PFN_cuGreenCtxStreamCreate_v12050, "cuGreenCtxStreamCreate")                     \
  X(green_as_context, PFN_cuCtxFromGreenCtx_v12040, "cuCtxFromGreenCtx")                           \
  X(stream_destroy, PFN_cuStreamDestroy_v4000, "cuStreamDestroy_v2")                               \
  X(stream_query, PFN_cuStreamQuery_v2000, "cuStreamQuery")                                        \
  X(stream_create, PFN_cuStreamCreateWithPriority_v5050, "cuStreamCreateWithPriority")             \
  X(stream_flags, PFN_cuStreamGetFlags_v5050, "cuStreamGetFlags")                                  \
  X(stream_priority, PFN_cuStreamGetPriority_v5050, "cuStreamGetPriority")                         \
  X(stream_wait, PFN_cuStreamWaitEvent_v3020, "cuStreamWaitEvent")                                 \
  X(stream_is_capturing, PFN_cuStreamIsCapturing_v10000, "cuStreamIsCapturing")                    \
  X(exchange_capture_mode, PFN_cuThreadExchangeStreamCaptureMode_v10010,                           \
    "cuThreadExchangeStreamCaptureMode")                                                           \
  X(event_create, PFN_cuEventCreate_v2000, "cuEventCreate")                                        \
  X(event_record, PFN_cuEventRecord_v2000, "cuEventRecord")                                        \
  X(event_wait, PFN_cuEventSynchronize_v2000, "cuEventSynchronize")                                \
  X(event_query, PFN_cuEventQuery_v2000, "cuEventQuery")                                           \
  X(event_destroy, PFN_cuEventDestroy_v4000, "cuEventDestroy_v2")                                  \
  X(function_name, PFN_cuFuncGetName_v12030, "cuFuncGetName")                                      \
  X(kernel_name, PFN_cuKernelGetName_v12030, "cuKernelGetName")                                    \
  X(graph_clone, PFN_cuGraphClone_v10000, "cuGraphClone")                                          \
  X(graph_destroy, PFN_cuGraphDestroy_v10000, "cuGraphDestroy")                                    \
  X(graph_nodes, PFN_cuGraphGetNodes_v10000, "cuGraphGetNodes")                                    \
  X(graph_node_type, PFN_cuGraphNodeGetType_v10000, "cuGraphNodeGetType")                          \
  X(graph_node_in_clone, PFN_cuGraphNodeFindInClone_v10000, "cuGraphNodeFindInClone")              \
  X(graph_child, PFN_cuGraphChildGraphNodeGetGraph_v10000, "cuGraphChildGraphNodeGetGraph")        \
  X(graph_kernel_get, PFN_cuGraphKernelNodeGetParams_v12000, "cuGraphKernelNodeGetParams_v2")      \
  X(graph_kernel_set, PFN_cuGraphKernelNodeSetParams_v12000, "cuGraphKernelNodeSetParams_v2")      \
  X(graph_kernel_attribute, PFN_cuGraphKernelNodeGetAttribute_v11000,                              \
    "cuGraphKernelNodeGetAttribute")                                                               \
  X(graph_kernel_attribute_set, PFN_cuGraphKernelNodeSetAttribute_v11000,                          \
    "cuGraphKernelNodeSetAttribute")                                                               \
  X(graph_dependencies, PFN_cuGraphNodeGetDependencies_v12030, "cuGraphNodeGetDependencies_v2")    \
  X(graph_dependents, PFN_cuGraphNodeGetDependentNodes_v12030, "cuGraphNodeGetDependentNodes_v2")  \
  X(graph_add_dependencies, PFN_cuGraphAddDependencies_v12030, "cuGraphAddDependencies_v2")        \
  X(graph_add_child, PFN_cuGraphAddChildGraphNode_v10000, "cuGraphAddChildGraphNode")              \
  X(graph_memcpy_set, PFN_cuGraphMemcpyNodeSetParams_v10000, "cuGraphMemcpyNodeSetParams")         \
  X(graph_memset_set, PFN_cuGraphMemsetNodeSetParams_v10000, "cuGraphMemsetNodeSetParams")         \
  X(graph_host_set, PFN_cuGraphHostNodeSetParams_v10000, "cuGraphHostNodeSetParams")               \
  X(graph_record_set, PFN_cuGraphEventRecordNodeSetEvent_v11010, "cuGraphEventRecordNodeSetEvent") \
  X(graph_wait_set, PFN_cuGraphEventWaitNodeSetEvent_v11010, "cuGraphEventWaitNodeSetEvent")       \
  X(graph_node_set, PFN_cuGraphNodeSetParams_v12020, "cuGraphNodeSetParams")                       \
  X(graph_destroy_node, PFN_cuGraphDestroyNode_v10000, "cuGraphDestroyNode")                       \
  X(capture_to_graph, PFN_cuStreamBeginCaptureToGraph_v12030, "cuStreamBeginCaptureToGraph")       \
  X(capture_info, PFN_cuStreamGetCaptureInfo_v12030, "cuStreamGetCaptureInfo_v3")                  \
  X(end_capture, PFN_cuStreamEndCapture_v10000, "cuStreamEndCapture")                              \
  X(launch_ex, PFN_cuLaunchKernelEx_v11060, "cuLaunchKernelEx")                                    \
  X(graph_instantiate, PFN_cuGraphInstantiateWithFlags_v11040, "cuGraphInstantiateWithFlags")      \
  X(graph_exec_destroy, PFN_cuGraphExecDestroy_v10000, "cuGraphExecDestroy")

struct Driver {
#define FICO_DRIVER_MEMBER(member, type, symbol) type member = nullptr;
  FICO_DRIVER(FICO_DRIVER_MEMBER)
#undef FICO_DRIVER_MEMBER
};

// Filled once by load_driver(); read-only from then on.
const Driver& driver();

// Finds every entry with `find` (a dlsym that is not intercepted) in the library `handle`.
void load_driver(void* handle, void* (*find)(void*, const char*));

// While one lives, the calling thread may make calls that a stream capture elsewhere would forbid
// (driver API: cuThreadExchangeStreamCaptureMode): our own calls never end a capture of the
// program.
class RelaxedCapture {
 public:
  RelaxedCapture() { exchange(); }
  ~RelaxedCapture() { exchange(); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  void exchange() {
    if (driver().exchange_capture_mode != nullptr) driver().exchange_capture_mode(&mode_);
  }
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

// Makes a context current for some driver calls of our own, if it is not.
class Current {
 public:
  explicit Current(CUcontext context) {
    CUcontext present = nullptr;
    driver().ctx_get_current(&present);
    pushed_ = present != context && driver().ctx_push(context) == CUDA_SUCCESS;
  }
  ~Current() {
    CUcontext popped = nullptr;
    if (pushed_) driver().ctx_pop(&popped);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  bool pushed_;
};

}  // namespace fico::cuda
