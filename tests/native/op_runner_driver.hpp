#pragma once

#include <cuda.h>

#include <string>

// The driver entry points the runner uses. Each is named as in cuda.h, with the CUDA version that
// is asked for where the driver is reached through the first cuGetProcAddress; a version from
// before 12.0 is what an older static run-time library would ask for.
//
// X(name, version): one entry. P(name, version): one with a per-thread-default-stream variant of
// the suffix _ptsz. D(name, version): the same with the suffix _ptds.
#define FICO_DRIVER_ENTRIES(X, P, D)           \
  X(cuInit, 11080)                             \
  X(cuDeviceGet, 11080)                        \
  X(cuDevicePrimaryCtxRetain, 11080)           \
  X(cuDevicePrimaryCtxRelease, 11080)          \
  X(cuCtxCreate, 12080)                        \
  X(cuCtxDestroy, 11080)                       \
  X(cuCtxSetCurrent, 11080)                    \
  X(cuCtxSynchronize, 11080)                   \
  X(cuModuleLoadData, 11080)                   \
  X(cuModuleGetFunction, 11080)                \
  X(cuModuleUnload, 11080)                     \
  X(cuMemAlloc, 11080)                         \
  X(cuMemFree, 11080)                          \
  X(cuMemAllocHost, 11080)                     \
  X(cuMemFreeHost, 11080)                      \
  X(cuStreamCreate, 11080)                     \
  X(cuStreamCreateWithPriority, 11080)         \
  X(cuStreamDestroy, 11080)                    \
  X(cuEventCreate, 11080)                      \
  X(cuEventDestroy, 11080)                     \
  X(cuEventQuery, 11080)                       \
  X(cuEventSynchronize, 11080)                 \
  X(cuGraphCreate, 11080)                      \
  X(cuGraphDestroy, 11080)                     \
  X(cuGraphAddKernelNode, 12080)               \
  X(cuGraphAddMemsetNode, 11080)               \
  X(cuGraphAddMemcpyNode, 11080)               \
  X(cuGraphAddHostNode, 11080)                 \
  X(cuGraphAddEmptyNode, 11080)                \
  X(cuGraphAddChildGraphNode, 11080)           \
  X(cuGraphInstantiate, 12080)                 \
  X(cuGraphExecUpdate, 12080)                  \
  X(cuGraphExecKernelNodeSetParams, 12080)     \
  X(cuGraphExecChildGraphNodeSetParams, 12080) \
  X(cuGraphExecMemsetNodeSetParams, 12080)     \
  X(cuGraphExecDestroy, 11080)                 \
  P(cuLaunchKernel, 11080)                     \
  P(cuLaunchKernelEx, 11080)                   \
  P(cuLaunchCooperativeKernel, 11080)          \
  P(cuMemcpyHtoDAsync, 11080)                  \
  P(cuMemcpyDtoHAsync, 11080)                  \
  P(cuMemcpyDtoDAsync, 11080)                  \
  P(cuMemcpyAsync, 11080)                      \
  P(cuMemsetD8Async, 11080)                    \
  P(cuMemsetD16Async, 11080)                   \
  P(cuMemsetD32Async, 11080)                   \
  P(cuStreamSynchronize, 11080)                \
  P(cuStreamQuery, 11080)                      \
  P(cuStreamWaitEvent, 11080)                  \
  P(cuStreamAddCallback, 11080)                \
  P(cuLaunchHostFunc, 11080)                   \
  P(cuEventRecord, 11080)                      \
  P(cuMemAllocAsync, 11080)                    \
  P(cuMemFreeAsync, 11080)                     \
  P(cuStreamWaitValue32, 11080)                \
  P(cuStreamWriteValue32, 11080)               \
  P(cuStreamBeginCapture, 11080)               \
  P(cuStreamEndCapture, 11080)                 \
  P(cuStreamIsCapturing, 11080)                \
  P(cuGraphLaunch, 11080)                      \
  P(cuGraphUpload, 11080)                      \
  D(cuMemcpyHtoD, 11080)                       \
  D(cuMemcpyDtoH, 11080)                       \
  D(cuMemcpyDtoD, 11080)                       \
  D(cuMemsetD8, 11080)                         \
  D(cuMemsetD16, 11080)                        \
  D(cuMemsetD32, 11080)

namespace fico::testing {

// One set of the entries: with the legacy default stream, or with a default stream for each thread.
// The members have the names of cuda.h without its version suffix.
struct DriverEntries {
#define FICO_MEMBER(name, version) decltype(&::name) fico_##name = nullptr;
  FICO_DRIVER_ENTRIES(FICO_MEMBER, FICO_MEMBER, FICO_MEMBER)
#undef FICO_MEMBER
};

struct Driver {
  DriverEntries legacy;
  DriverEntries per_thread;
};

// How the entries are found: "dlsym"; "proc1" and "proc2", which are the first and the second
// cuGetProcAddress as a static run-time library uses them; or "linked", which only the executable
// that is linked against libcuda.so.1 has. Ends the program with one line where that fails.
Driver reach_driver(const std::string& reach);

}  // namespace fico::testing
