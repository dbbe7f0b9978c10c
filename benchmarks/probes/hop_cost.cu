// What moving a chain of kernels between green contexts costs, against how many streams there are,
// and whether destroyed contexts give their memory back. docs/driver-facts.md keeps the answers.
// Build: nvcc -arch=sm_90 -std=c++17 -o hop_cost hop_cost.cu -lcuda
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

using Clock = std::chrono::steady_clock;
extern "C" __global__ void spin(long long cycles) {
  long long start = clock64();
  while (clock64() - start < cycles) {
  }
}

static CUdevice device;
static std::vector<CUdevResource> unit(16);
static CUfunction kernel;
static CUevent events[64];

static CUgreenCtx make(int lo, int hi) {
  CUdevResourceDesc d;
  CUgreenCtx g = nullptr;
  cuDevResourceGenerateDesc(&d, &unit[lo], hi - lo);
  if (cuGreenCtxCreate(&g, d, device, CU_GREEN_CTX_DEFAULT_STREAM)) printf("create failed\n");
  return g;
}
static CUstream stream_of(CUgreenCtx g) {
  CUstream s = nullptr;
  if (cuGreenCtxStreamCreate(&s, g, CU_STREAM_NON_BLOCKING, 0)) printf("stream failed\n");
  return s;
}
static double free_mib() {
  size_t f, t;
  cuMemGetInfo(&f, &t);
  return f / 1048576.0;
}

// A chain of kernels of `cycles` that goes round `places`, `stay` launches at each.
static void chain(const char* what, const std::vector<CUstream>& places, int stay,
                  long long cycles) {
  void* arguments[] = {&cycles};
  std::vector<double> wall, cpu;
  for (int repetition = 0; repetition < 5; ++repetition) {
    cuCtxSynchronize();
    const int launches = 600;
    auto start = Clock::now();
    size_t at = 0;
    for (int i = 0; i < launches; ++i) {
      size_t next = (i / stay) % places.size();
      if (next != at) {
        cuEventRecord(events[i & 63], places[at]);
        cuStreamWaitEvent(places[next], events[i & 63], 0);
        at = next;
      }
      cuLaunchKernel(kernel, 8, 1, 1, 128, 1, 1, 0, places[at], arguments, nullptr);
    }
    cpu.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() /
                  launches);
    cuStreamSynchronize(places[at]);
    wall.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() /
                   launches);
  }
  std::sort(wall.begin(), wall.end());
  std::sort(cpu.begin(), cpu.end());
  printf("  %-44s cpu %6.2f us, total %6.2f us a kernel\n", what, cpu[2], wall[2]);
}

int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  cuInit(0);
  cuDeviceGet(&device, 0);
  CUcontext primary;
  cuDevicePrimaryCtxRetain(&primary, device);
  cuCtxSetCurrent(primary);
  cudaFree(0);
  cudaFunction_t f;
  cudaGetFuncBySymbol(&f, (const void*)spin);
  kernel = f;
  for (auto& e : events) cuEventCreate(&e, CU_EVENT_DISABLE_TIMING);
  CUdevResource all, rest;
  cuDeviceGetDevResource(device, &all, CU_DEV_RESOURCE_TYPE_SM);
  unsigned n = 15;
  cuDevSmResourceSplitByCount(unit.data(), &n, &all, &rest, 0, 8);
  unit[15] = rest;

  CUstream plain;
  cuStreamCreate(&plain, CU_STREAM_NON_BLOCKING);
  CUgreenCtx a = make(0, 8), b = make(8, 16), c = make(0, 12);
  CUstream sa = stream_of(a), sb = stream_of(b), sc = stream_of(c);
  for (long long cycles : {0LL, 10000LL}) {
    printf("kernels of %lld cycles, 3 contexts with a stream each\n", cycles);
    chain("plain stream", {plain}, 1, cycles);
    chain("one partition", {sa}, 1, cycles);
    chain("disjoint partitions, hop every kernel", {sa, sb}, 1, cycles);
    chain("overlapping partitions, hop every kernel", {sa, sc}, 1, cycles);
    chain("home and a partition, hop every kernel", {plain, sa}, 1, cycles);
    chain("disjoint partitions, hop every 16", {sa, sb}, 16, cycles);
  }
  for (int target : {4, 8, 12, 16, 24, 32}) {
    static std::vector<CUstream> extra;
    while ((int)extra.size() < target) extra.push_back(stream_of(a));
    printf("with %d more streams on one context\n", target);
    chain("disjoint partitions, hop every kernel", {sa, sb}, 1, 10000);
    chain("disjoint partitions, hop every 16", {sa, sb}, 16, 10000);
  }
  {
    std::vector<CUgreenCtx> contexts;
    std::vector<CUstream> streams;
    double before = free_mib();
    for (int i = 0; i < 9; ++i) {
      contexts.push_back(make(i, i + 4));
      streams.push_back(stream_of(contexts.back()));
    }
    printf("9 more contexts with a stream each: %.1f MiB\n", before - free_mib());
    chain("12 contexts, hop every kernel between 2", {sa, sb}, 1, 10000);
    std::vector<CUstream> round(streams);
    chain("12 contexts, hop every kernel round 9", round, 1, 10000);
    before = free_mib();
    cuCtxSynchronize();
    for (auto s : streams) cuStreamDestroy(s);
    double streams_back = free_mib() - before;
    for (auto g : contexts) cuGreenCtxDestroy(g);
    printf("destroying the streams gives back %.1f MiB, then the contexts %.1f MiB\n", streams_back,
           free_mib() - before - streams_back);
    before = free_mib();
    contexts.clear();
    for (int i = 0; i < 9; ++i) contexts.push_back(make(i, i + 3));
    printf("9 new contexts after that take %.1f MiB\n", before - free_mib());
  }
  printf("done, last error %d\n", cuCtxSynchronize());
}
