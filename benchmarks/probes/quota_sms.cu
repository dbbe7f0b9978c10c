// Which SMs a client of MPS has under CUDA_MPS_ACTIVE_THREAD_PERCENTAGE: how many the driver says,
// and how many blocks really come to lie on, alone and in clusters. docs/device-model.md takes
// `mps-quota` for a partition of that size. With a number as argument it stays on the GPU for so
// many ms, so that two of them side by side show whether their SMs are the same. Build:
// nvcc -arch=sm_90 -std=c++17 -o quota_sms quota_sms.cu
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "attempt.hpp"

constexpr unsigned kSharedBytes = 160 << 10;  // more than half of an SM's: one block an SM
constexpr unsigned kMostSms = 256;

__global__ void spin(unsigned* blocks_on_sm, long long ns) {
  unsigned sm;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
  if (threadIdx.x == 0) atomicAdd(&blocks_on_sm[sm], 1);
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  } while (now - start < (unsigned long long)ns);
}

int main(int count, char** words) {
  const long long stay_ms = count > 1 ? atoll(words[1]) : 0;
  const char* percent = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
  int said = 0;
  MUST(cudaDeviceGetAttribute(&said, cudaDevAttrMultiProcessorCount, 0));
  unsigned* blocks_on_sm = nullptr;
  MUST(cudaMalloc(&blocks_on_sm, 4 * kMostSms));
  MUST(cudaFuncSetAttribute(spin, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  printf("percentage %s: the driver says %d SMs; used by clusters of", percent ? percent : "-",
         said);
  std::vector<unsigned> on_sm(kMostSms);
  for (const unsigned cluster : {8U, 4U, 2U, 1U}) {
    MUST(cudaMemset(blocks_on_sm, 0, 4 * kMostSms));
    cudaLaunchAttribute shape{};
    shape.id = cudaLaunchAttributeClusterDimension;
    shape.val.clusterDim = {cluster, 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = 8 * 132;
    config.blockDim = 128;
    config.dynamicSmemBytes = kSharedBytes;
    config.attrs = &shape;
    config.numAttrs = 1;
    const long long ns = cluster == 1 && stay_ms > 0 ? stay_ms * 1'000'000 / 32 : 200'000;
    MUST(cudaLaunchKernelEx(&config, spin, blocks_on_sm, ns));
    MUST(cudaMemcpy(on_sm.data(), blocks_on_sm, 4 * kMostSms, cudaMemcpyDeviceToHost));
    unsigned used = 0;
    for (const unsigned blocks : on_sm) used += blocks > 0;
    printf("%s %u: %u", cluster == 8 ? "" : ",", cluster, used);
  }
  printf("\n  SMs");
  for (unsigned sm = 0; sm < kMostSms; ++sm) {
    if (on_sm[sm] > 0) printf(" %u", sm);
  }
  printf("\n");
}
