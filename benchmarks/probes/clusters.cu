// How many SMs thread-block clusters can use on a partition: the units of libfico.so, 15 groups of
// 8 SMs and the remainder of the split. Each block has an SM to itself and spins for 2 ms, so the
// time of many says how many ran at once. docs/driver-facts.md, "The last unit". Build:
// nvcc -arch=sm_90 -std=c++17 -o clusters clusters.cu -lcuda
#include <cuda.h>
#include <cuda_runtime.h>

#include <chrono>
#include <cstdio>
#include <vector>

#include "attempt.hpp"

constexpr unsigned kSharedBytes = 160 << 10;  // more than half of an SM's: one block an SM
constexpr long long kSpin_ns = 2'000'000;

extern "C" __global__ void spin() {
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < kSpin_ns);
}

static CUresult launch(CUfunction function, CUstream stream, unsigned blocks, unsigned cluster) {
  CUlaunchAttribute shape{};
  shape.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  shape.value.clusterDim = {cluster, 1, 1};
  CUlaunchConfig config{};
  config.gridDimX = blocks;
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = 128;
  config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = kSharedBytes;
  config.hStream = stream;
  config.attrs = &shape;
  config.numAttrs = 1;
  return cuLaunchKernelEx(&config, function, nullptr, nullptr);
}

int main() {
  cudaFree(nullptr);
  CUdevice device;
  TRY(cuCtxGetDevice(&device));
  CUdevResource all{}, rest{};
  TRY(cuDeviceGetDevResource(device, &all, CU_DEV_RESOURCE_TYPE_SM));
  unsigned groups = 64;
  std::vector<CUdevResource> units(65);
  TRY(cuDevSmResourceSplitByCount(units.data(), &groups, &all, &rest, 0, 8));
  units.resize(groups);
  if (rest.sm.smCount != 0) units.push_back(rest);
  cudaFunction_t symbol;
  cudaGetFuncBySymbol(&symbol, (const void*)spin);
  auto function = (CUfunction)symbol;
  TRY(cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, kSharedBytes));
  const unsigned count = (unsigned)units.size();
  const unsigned ranges[][2] = {
      {0, 4},    {4, 8}, {8, 12}, {count - 4, count}, {count - 2, count}, {count - 1, count},
      {0, count}};
  for (const auto& range : ranges) {
    unsigned sms = 0;
    for (unsigned u = range[0]; u < range[1]; ++u) sms += units[u].sm.smCount;
    CUdevResourceDesc description{};
    CUgreenCtx green{};
    CUstream stream{};
    TRY(cuDevResourceGenerateDesc(&description, &units[range[0]], range[1] - range[0]));
    TRY(cuGreenCtxCreate(&green, description, device, CU_GREEN_CTX_DEFAULT_STREAM));
    TRY(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0));
    printf("units [%u, %u), %u SMs; used by clusters of", range[0], range[1], sms);
    for (const unsigned cluster : {1U, 2U, 4U, 8U}) {
      const unsigned blocks = 8 * 132;
      CUresult result = launch(function, stream, cluster, cluster);  // the first is slower
      if (result == CUDA_SUCCESS) result = cuStreamSynchronize(stream);
      const auto start = std::chrono::steady_clock::now();
      if (result == CUDA_SUCCESS) result = launch(function, stream, blocks, cluster);
      if (result == CUDA_SUCCESS) result = cuStreamSynchronize(stream);
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - start;
      if (result == CUDA_SUCCESS) {
        printf(" %u: %.1f;", cluster, blocks * double(kSpin_ns) / took.count());
      } else {
        printf(" %u: error %d;", cluster, result);
      }
    }
    printf("\n");
    cuStreamDestroy(stream);
    cuGreenCtxDestroy(green);
  }
  return 0;
}
