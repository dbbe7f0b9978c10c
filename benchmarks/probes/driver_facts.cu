// What the driver does with green contexts, graphs, capture and the legacy stream: each line
// printed is one fact that libfico.so relies on. docs/driver-facts.md keeps the answers. Build:
// nvcc -arch=sm_90 -std=c++17 -o driver_facts driver_facts.cu -lcuda
#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "attempt.hpp"

using Clock = std::chrono::steady_clock;
static double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

extern "C" __global__ void mark_sms(unsigned* seen) {
  unsigned sm;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
  if (threadIdx.x == 0) atomicAdd(&seen[sm], 1);
  long long start = clock64();
  while (clock64() - start < 20000) {
  }
}
extern "C" __global__ void spin(long long cycles) {
  long long start = clock64();
  while (clock64() - start < cycles) {
  }
}
// Says at its end, in memory that the host sees, which launch it was.
extern "C" __global__ void spin_and_tell(long long cycles, volatile unsigned* ended) {
  long long start = clock64();
  while (clock64() - start < cycles) {
  }
  *ended = *ended + 1;
  __threadfence_system();
}
extern "C" __global__ void __cluster_dims__(1, 1, 1) clustered(unsigned* seen) {
  atomicAdd(&seen[blockIdx.x & 127], 1);
}

static CUdeviceptr seen;
static unsigned sms_used() {
  std::vector<unsigned> host(256);
  cuMemcpyDtoH(host.data(), seen, 1024);
  return 256 - std::count(host.begin(), host.end(), 0U);
}
static void clear() {
  cuMemsetD32(seen, 0, 256);
  cuCtxSynchronize();
}
static size_t free_bytes() {
  size_t f, t;
  cuMemGetInfo(&f, &t);
  return f;
}
static double mib(size_t a, size_t b) { return (double(a) - double(b)) / 1048576.0; }
static double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// Whether each way to wait for a launch of a graph, or to ask about it, covers the launch: its one
// kernel takes some 30 ms and then counts itself in `ended`. With `green_ctx` the node is moved
// there, as libfico.so does it. Each way has an instance of its own: its first launch, its second,
// and two launches at once.
static void graph_waits(const char* where, CUstream stream, CUcontext green_ctx) {
  unsigned* ended = nullptr;
  TRY(cuMemHostAlloc((void**)&ended, sizeof *ended, CU_MEMHOSTALLOC_DEVICEMAP));
  auto* count = (volatile unsigned*)ended;
  long long cycles = 50'000'000;
  void* arguments[] = {&cycles, &ended};
  cudaFunction_t function;
  cudaGetFuncBySymbol(&function, (const void*)spin_and_tell);
  cudaKernel_t kernel;
  cudaGetKernel(&kernel, (const void*)spin_and_tell);
  CUevent event;
  TRY(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  CUstream home;
  TRY(cuStreamCreate(&home, CU_STREAM_NON_BLOCKING));
  struct Way {
    const char* name;
    bool records;  // an event behind the launch
  };
  const Way ways[] = {{"cuCtxSynchronize", false},    {"cuCtxSynchronize, event recorded", true},
                      {"cuMemFree", false},           {"cuMemFree, event recorded", true},
                      {"cuStreamSynchronize", false}, {"cuEventSynchronize", true},
                      {"cuStreamQuery", false},       {"cuEventQuery", true}};
  for (int w = 0; w < 8; ++w) {
    CUgraph graph;
    TRY(cuStreamBeginCapture(home, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    TRY(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, home, arguments, nullptr));
    TRY(cuStreamEndCapture(home, &graph));
    if (green_ctx != nullptr) {
      CUgraphNode node;
      size_t one = 1;
      TRY(cuGraphGetNodes(graph, &node, &one));
      CUDA_KERNEL_NODE_PARAMS params;
      TRY(cuGraphKernelNodeGetParams(node, &params));
      params.func = nullptr;
      params.kern = kernel;
      params.ctx = green_ctx;
      TRY(cuGraphKernelNodeSetParams(node, &params));
    }
    CUgraphExec exec;
    TRY(cuGraphInstantiate(&exec, graph, 0));
    printf("  %s, %s:", where, ways[w].name);
    for (int round = 0; round < 3; ++round) {
      const unsigned launches = round == 2 ? 2 : 1;
      CUdeviceptr memory;
      TRY(cuMemAlloc(&memory, 1 << 20));
      *count = 0;
      for (unsigned i = 0; i < launches; ++i) TRY(cuGraphLaunch(exec, stream));
      if (ways[w].records) TRY(cuEventRecord(event, stream));
      const auto start = Clock::now();
      CUresult result = CUDA_SUCCESS;
      if (w < 2) result = cuCtxSynchronize();
      if (w == 2 || w == 3) result = cuMemFree(memory);
      if (w == 4) result = cuStreamSynchronize(stream);
      if (w == 5) result = cuEventSynchronize(event);
      if (w == 6) result = cuStreamQuery(stream);
      if (w == 7) result = cuEventQuery(event);
      const unsigned seen_ended = *count;
      printf(" %s: %d, %u of %u ended, %.1f ms;",
             round == 0   ? "first launch"
             : round == 1 ? "second"
                          : "two more",
             result, seen_ended, launches, us_since(start) / 1e3);
      // By the kernel itself, since the rest is what is asked about.
      while (*count < launches && us_since(start) < 5e6) std::this_thread::yield();
      cuCtxSynchronize();
      if (w != 2 && w != 3) cuMemFree(memory);
    }
    printf("\n");
    cuGraphExecDestroy(exec);
    cuGraphDestroy(graph);
  }
  cuEventDestroy(event);
  cuStreamDestroy(home);
  cuMemFreeHost(ended);
}

int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  TRY(cuInit(0));
  CUdevice device;
  cuDeviceGet(&device, 0);
  CUcontext primary;
  TRY(cuDevicePrimaryCtxRetain(&primary, device));
  TRY(cuCtxSetCurrent(primary));
  cudaFree(0);
  cudaFunction_t f;
  cudaGetFuncBySymbol(&f, (const void*)mark_sms);
  CUfunction fmark = f;
  cudaGetFuncBySymbol(&f, (const void*)spin);
  CUfunction fspin = f;
  cudaKernel_t k;
  cudaGetKernel(&k, (const void*)mark_sms);
  CUkernel kmark = k;
  TRY(cuMemAlloc(&seen, 1024));
  clear();
  CUdevResource all;
  TRY(cuDeviceGetDevResource(device, &all, CU_DEV_RESOURCE_TYPE_SM));
  unsigned n = 15;
  std::vector<CUdevResource> unit(16);
  CUdevResource rest;
  TRY(cuDevSmResourceSplitByCount(unit.data(), &n, &all, &rest, 0, 8));
  unit[15] = rest;
  auto make = [&](int lo, int hi) {
    CUdevResourceDesc d;
    TRY(cuDevResourceGenerateDesc(&d, &unit[lo], hi - lo));
    CUgreenCtx g;
    TRY(cuGreenCtxCreate(&g, d, device, CU_GREEN_CTX_DEFAULT_STREAM));
    return g;
  };
  auto stream_of = [&](CUgreenCtx g) {
    CUstream s;
    TRY(cuGreenCtxStreamCreate(&s, g, CU_STREAM_NON_BLOCKING, 0));
    return s;
  };

  // Memory and time of contexts and streams.
  size_t before = free_bytes();
  auto start = Clock::now();
  std::vector<CUgreenCtx> contexts;
  for (int i = 0; i < 8; ++i) contexts.push_back(make(i, 16 - (i & 3)));
  double create_us = us_since(start) / 8;
  size_t mid = free_bytes();
  start = Clock::now();
  std::vector<CUstream> streams;
  for (auto c : contexts) streams.push_back(stream_of(c));
  double stream_us = us_since(start) / 8;
  size_t after = free_bytes();
  std::vector<CUstream> more;
  for (int i = 0; i < 32; ++i) more.push_back(stream_of(contexts[0]));
  printf(
      "green context: %.2f MiB %.0f us; first stream of each: %.2f MiB %.0f us; 32 more streams of "
      "one: %.2f MiB\n",
      mib(before, mid) / 8, create_us, mib(mid, after) / 8, stream_us, mib(after, free_bytes()));
  before = free_bytes();
  for (int i = 1; i < 8; ++i) cuGreenCtxDestroy(contexts[i]);
  printf("destroying 7 gives back %.1f MiB (streams not destroyed first)\n",
         mib(free_bytes(), before));
  CUgreenCtx g64 = make(0, 8);
  CUstream green = stream_of(g64);
  CUcontext green_ctx;
  TRY(cuCtxFromGreenCtx(&green_ctx, g64));
  CUstream plain;
  TRY(cuStreamCreate(&plain, CU_STREAM_NON_BLOCKING));
  CUstream blocking;
  TRY(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
  long long ms20 = 20'000'000LL * 198 / 100;
  void* spin20[] = {&ms20};
  auto busy = [&](CUstream s) {
    TRY(cuLaunchKernel(fspin, 1, 1, 1, 32, 1, 1, 0, s, spin20, nullptr));
  };
  TRY(cuCtxSynchronize());
  busy(green);
  start = Clock::now();
  TRY(cuCtxSynchronize());
  printf("cuCtxSynchronize(primary) with 20 ms on a green stream: %.1f ms\n",
         us_since(start) / 1e3);
  cuStreamSynchronize(green);
  CUdeviceptr p;
  TRY(cuMemAlloc(&p, 1 << 20));
  busy(green);
  start = Clock::now();
  TRY(cuMemFree(p));
  printf("cuMemFree with 20 ms on a green stream: %.1f ms\n", us_since(start) / 1e3);
  cuStreamSynchronize(green);
  TRY(cuMemAlloc(&p, 1 << 20));
  busy(plain);
  start = Clock::now();
  TRY(cuMemFree(p));
  printf("cuMemFree with 20 ms on a plain stream: %.1f ms\n", us_since(start) / 1e3);
  cuCtxSynchronize();
  TRY(cuMemAlloc(&p, 512 << 20));
  busy(plain);
  start = Clock::now();
  TRY(cuMemFree(p));
  printf("cuMemFree of 512 MiB with 20 ms on a plain stream: %.1f ms\n", us_since(start) / 1e3);
  cuCtxSynchronize();
  TRY(cuMemAlloc(&p, 512 << 20));
  busy(green);
  start = Clock::now();
  TRY(cuMemFree(p));
  printf("cuMemFree of 512 MiB with 20 ms on a green stream: %.1f ms\n", us_since(start) / 1e3);
  cuStreamSynchronize(green);
  unsigned word = 0;
  busy(green);
  start = Clock::now();
  TRY(cuMemcpyDtoH(&word, seen, 4));
  printf("sync DtoH with 20 ms on a green stream: %.1f ms\n", us_since(start) / 1e3);
  cuStreamSynchronize(green);
  busy(blocking);
  start = Clock::now();
  TRY(cuMemcpyDtoH(&word, seen, 4));
  printf("sync DtoH with 20 ms on a blocking stream: %.1f ms\n", us_since(start) / 1e3);
  CUevent e1, e2;
  cuEventCreate(&e1, 0);
  cuEventCreate(&e2, 0);
  busy(blocking);
  TRY(cuEventRecord(e1, nullptr));
  printf(
      "event recorded in the legacy stream behind a busy blocking stream: query %d (600 = waits "
      "for it)\n",
      cuEventQuery(e1));
  cuCtxSynchronize();
  busy(blocking);
  printf("query of the legacy stream beside a busy blocking stream: %d\n", cuStreamQuery(nullptr));
  start = Clock::now();
  cuStreamSynchronize(nullptr);
  printf("  synchronising it takes %.1f ms\n", us_since(start) / 1e3);
  cuCtxSynchronize();
  busy(nullptr);
  printf("query of a blocking stream beside a busy legacy stream: %d\n", cuStreamQuery(blocking));
  cuCtxSynchronize();
  busy(nullptr);
  TRY(cuEventRecord(e1, blocking));
  printf("event recorded in a blocking stream behind a busy legacy stream: query %d\n",
         cuEventQuery(e1));
  cuCtxSynchronize();
  // A stream that does not block, after work in the legacy stream.
  TRY(cuEventRecord(e1, green));
  busy(green);
  TRY(cuEventRecord(e2, green));
  TRY(cuStreamSynchronize(green));
  float ms = 0;
  CUresult r = cuEventElapsedTime(&ms, e1, e2);
  printf("elapsed between events of the primary on a green stream: %d, %.1f ms\n", r, ms);
  // Every kind of stream work on a green stream while the primary is current.
  CUdeviceptr q;
  char host[64];
  printf("on a green stream: memcpyHtoDAsync %d", cuMemcpyHtoDAsync(seen, host, 64, green));
  printf(" memcpyAsync %d", cuMemcpyAsync(seen, seen + 512, 64, green));
  printf(" memset %d", cuMemsetD32Async(seen, 0, 16, green));
  printf(" hostfunc %d", cuLaunchHostFunc(green, [](void*) {}, nullptr));
  printf(" callback %d", cuStreamAddCallback(
                             green, [](CUstream s, CUresult, void* p) { *(CUstream*)p = s; },
                             &plain + 0 ? (void*)new CUstream : nullptr, 0));
  printf(" writeValue %d", cuStreamWriteValue32(green, seen, 1, 0));
  printf(" allocAsync %d", cuMemAllocAsync(&q, 1 << 20, green));
  printf(" freeAsync %d", cuMemFreeAsync(q, green));
  CUdeviceptr managed;
  cuMemAllocManaged(&managed, 1 << 20, CU_MEM_ATTACH_GLOBAL);
  CUmemLocation where{CU_MEM_LOCATION_TYPE_DEVICE, 0};
  printf(" prefetch %d", cuMemPrefetchAsync(managed, 1 << 20, where, 0, green));
  printf(" attach %d\n", cuStreamAttachMemAsync(green, managed, 0, CU_MEM_ATTACH_GLOBAL));
  cuMemFree(managed);
  cuStreamSynchronize(green);
  CUcontext of;
  CUgreenCtx gof;
  printf("cuStreamGetCtx of a green stream %d, equal to the primary: ", cuStreamGetCtx(green, &of));
  printf("%d; v2 %d\n", of == primary, cuStreamGetCtx_v2(green, &of, &gof));
  // Cooperative launch beyond the partition.
  void* amark[] = {&seen};
  int per_sm;
  cuOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, fmark, 128, 0);
  printf("cooperative launch of %d x 64 blocks on 64 SMs: %d; of one more: %d\n", per_sm,
         cuLaunchCooperativeKernel(fmark, per_sm * 64, 1, 1, 128, 1, 1, 0, green, amark),
         cuLaunchCooperativeKernel(fmark, per_sm * 64 + 1, 1, 1, 128, 1, 1, 0, green, amark));
  cuCtxSynchronize();
  // Pointers: exported symbols against cuGetProcAddress.
  {
    void* lib = dlopen("libcuda.so.1", RTLD_NOW);
    const char* names[][2] = {{"cuLaunchKernel", "cuLaunchKernel"},
                              {"cuMemcpyHtoD", "cuMemcpyHtoD_v2"},
                              {"cuStreamBeginCapture", "cuStreamBeginCapture_v2"},
                              {"cuMemcpyBatchAsync", "cuMemcpyBatchAsync_v2"}};
    for (auto& nm : names) {
      void* a = dlsym(lib, nm[1]);
      void* b = nullptr;
      CUdriverProcAddressQueryResult st;
      cuGetProcAddress(nm[0], &b, 13000, 0, &st);
      printf("%s: exported and queried pointers %s\n", nm[0], a == b ? "are the same" : "differ");
    }
  }
  // Graph nodes in another context.
  auto used_after = [&](CUgraph graph, const char* what) {
    CUgraphExec exec;
    CUresult i = cuGraphInstantiate(&exec, graph, 0);
    if (i) {
      printf("  %s: instantiate %d\n", what, i);
      return;
    }
    clear();
    CUresult l = cuGraphLaunch(exec, plain);
    cuStreamSynchronize(plain);
    printf("  %s: launch %d, SMs used %u\n", what, l, sms_used());
    cuGraphExecDestroy(exec);
  };
  for (int with_func = 0; with_func < 2; ++with_func) {
    CUgraph graph;
    cuGraphCreate(&graph, 0);
    CUDA_KERNEL_NODE_PARAMS np;
    memset(&np, 0, sizeof np);
    np.gridDimX = 2000;
    np.gridDimY = np.gridDimZ = 1;
    np.blockDimX = 128;
    np.blockDimY = np.blockDimZ = 1;
    np.kernelParams = amark;
    np.ctx = green_ctx;
    if (with_func)
      np.func = fmark;
    else
      np.kern = kmark;
    CUgraphNode node;
    r = cuGraphAddKernelNode(&node, graph, nullptr, 0, &np);
    printf("add node with %s and ctx=green: %d\n", with_func ? "func" : "kern", r);
    CUlaunchAttributeValue v;
    memset(&v, 0, sizeof v);
    v.priority = -3;
    printf("  set priority attribute: %d",
           cuGraphKernelNodeSetAttribute(node, CU_LAUNCH_ATTRIBUTE_PRIORITY, &v));
    v.clusterDim = {2, 1, 1};
    printf(" cluster: %d\n",
           cuGraphKernelNodeSetAttribute(node, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &v));
    used_after(graph, "launched");
    CUDA_KERNEL_NODE_PARAMS gp;
    cuGraphKernelNodeGetParams(node, &gp);
    printf("  read back: ctx green %d func %d kern %d\n", gp.ctx == green_ctx, gp.func != nullptr,
           gp.kern != nullptr);
  }
  {
    CUgraph graph;
    TRY(cuStreamBeginCapture(plain, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    TRY(cuLaunchKernel(fmark, 2000, 1, 1, 128, 1, 1, 0, plain, amark, nullptr));
    TRY(cuStreamEndCapture(plain, &graph));
    CUgraphNode node;
    size_t one = 1;
    cuGraphGetNodes(graph, &node, &one);
    CUDA_KERNEL_NODE_PARAMS np;
    cuGraphKernelNodeGetParams(node, &np);
    used_after(graph, "captured on plain");
    np.func = nullptr;
    np.kern = np.kern ? np.kern : kmark;
    np.ctx = green_ctx;
    r = cuGraphKernelNodeSetParams(node, &np);
    printf("set params with kern and ctx=green, func=0: %d\n", r);
    used_after(graph, "after it");
    CUgraph clone;
    cuGraphClone(&clone, graph);
    used_after(clone, "its clone");
    CUgraphExec exec;
    CUgraph second;
    TRY(cuStreamBeginCapture(plain, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    TRY(cuLaunchKernel(fmark, 2000, 1, 1, 128, 1, 1, 0, plain, amark, nullptr));
    TRY(cuStreamEndCapture(plain, &second));
    cuGraphInstantiate(&exec, second, 0);
    CUgraphNode node2;
    one = 1;
    cuGraphGetNodes(second, &node2, &one);
    r = cuGraphExecKernelNodeSetParams(exec, node2, &np);
    clear();
    cuGraphLaunch(exec, plain);
    cuStreamSynchronize(plain);
    printf("exec set params with kern and ctx=green: %d, SMs used %u\n", r, sms_used());
  }
  // A graph built while capturing on a green stream, its dependencies set by hand.
  {
    CUgraph graph;
    TRY(cuGraphCreate(&graph, 0));
    r = cuStreamBeginCaptureToGraph(green, graph, nullptr, nullptr, 0,
                                    CU_STREAM_CAPTURE_MODE_RELAXED);
    printf("capture to graph on a green stream: %d\n", r);
    std::vector<CUgraphNode> made;
    for (int i = 0; i < 3; ++i) {
      TRY(cuStreamUpdateCaptureDependencies(green, i == 2 ? made.data() : nullptr, nullptr,
                                            i == 2 ? 2 : 0, CU_STREAM_SET_CAPTURE_DEPENDENCIES));
      TRY(cuLaunchKernel(fmark, 2000, 1, 1, 128, 1, 1, 0, green, amark, nullptr));
      CUstreamCaptureStatus st;
      const CUgraphNode* deps;
      size_t nd = 0;
      TRY(cuStreamGetCaptureInfo(green, &st, nullptr, nullptr, &deps, nullptr, &nd));
      printf("  after launch %d: %zu dependencies\n", i, nd);
      made.push_back(deps[0]);
    }
    CUDA_MEMSET_NODE_PARAMS mp;
    memset(&mp, 0, sizeof mp);
    mp.dst = seen + 900;
    mp.elementSize = 4;
    mp.width = 4;
    mp.height = 1;
    CUgraphNode mn;
    printf("  memset node added by hand during the capture: %d\n",
           cuGraphAddMemsetNode(&mn, graph, made.data(), 1, &mp, primary));
    made.push_back(mn);
    TRY(cuStreamUpdateCaptureDependencies(green, &made[2], nullptr, 1,
                                          CU_STREAM_SET_CAPTURE_DEPENDENCIES));
    CUgraph out;
    printf("  end capture with a loose node: %d\n", cuStreamEndCapture(green, &out));
    size_t nn = 0, ne = 0;
    cuGraphGetNodes(graph, nullptr, &nn);
    cuGraphGetEdges(graph, nullptr, nullptr, nullptr, &ne);
    printf("  %zu nodes %zu edges\n", nn, ne);
    used_after(graph, "rebuilt");
  }
  // What is legal for another thread while a capture in global mode goes on.
  {
    CUgraph graph;
    TRY(cuStreamBeginCapture(plain, CU_STREAM_CAPTURE_MODE_GLOBAL));
    std::thread other([&] {
      cuCtxSetCurrent(primary);
      CUevent ev;
      CUstream s;
      printf("other thread under a global capture: eventCreate %d",
             cuEventCreate(&ev, CU_EVENT_DISABLE_TIMING));
      printf(" record on green %d", cuEventRecord(ev, green));
      printf(" wait %d", cuStreamWaitEvent(streams[0], ev, 0));
      printf(" launch on green %d",
             cuLaunchKernel(fmark, 1, 1, 1, 32, 1, 1, 0, green, amark, nullptr));
      printf(" isCapturing(legacy) ");
      CUstreamCaptureStatus st;
      printf("%d", cuStreamIsCapturing(nullptr, &st));
      printf(" eventQuery %d", cuEventQuery(ev));
      CUstreamCaptureMode m = CU_STREAM_CAPTURE_MODE_RELAXED;
      cuThreadExchangeStreamCaptureMode(&m);
      CUgreenCtx gg = make(3, 5);
      printf(" | relaxed: greenCreate ok");
      s = stream_of(gg);
      printf(" eventQuery %d eventSync %d streamQuery %d\n", cuEventQuery(ev),
             cuEventSynchronize(ev), cuStreamQuery(s));
    });
    other.join();
    TRY(cuLaunchKernel(fmark, 1, 1, 1, 32, 1, 1, 0, plain, amark, nullptr));
    printf("  the capture ends with %d\n", cuStreamEndCapture(plain, &graph));
  }
  printf(
      "waiting for graphs (result, launches that had ended when the call returned, its time):\n");
  graph_waits("on a plain stream", plain, nullptr);
  graph_waits("moved to a green context", green, green_ctx);
  // What calls cost.
  {
    cuCtxSynchronize();
    const int N = 2000;
    auto cost = [&](const char* name, auto call) {
      std::vector<double> v;
      for (int rep = 0; rep < 7; ++rep) {
        cuCtxSynchronize();
        auto t = Clock::now();
        for (int i = 0; i < N; ++i) call(i);
        v.push_back(us_since(t) / N * 1e3);
      }
      printf("  %s %.0f ns\n", name, median(v));
    };
    long long zero = 0;
    void* az[] = {&zero};
    CUcontext c;
    CUstreamCaptureStatus st;
    CUevent ev[64];
    for (auto& e : ev) cuEventCreate(&e, CU_EVENT_DISABLE_TIMING);
    printf("cost of a call:\n");
    cost("cuCtxGetCurrent", [&](int) { cuCtxGetCurrent(&c); });
    cost("cuStreamIsCapturing", [&](int) { cuStreamIsCapturing(plain, &st); });
    cost("cuThreadExchangeStreamCaptureMode", [&](int) {
      CUstreamCaptureMode m = CU_STREAM_CAPTURE_MODE_RELAXED;
      cuThreadExchangeStreamCaptureMode(&m);
      cuThreadExchangeStreamCaptureMode(&m);
    });
    cost("cuEventRecord", [&](int i) { cuEventRecord(ev[i & 63], green); });
    cost("cuStreamWaitEvent", [&](int i) { cuStreamWaitEvent(green, ev[i & 63], 0); });
    cost("cuEventQuery", [&](int i) { cuEventQuery(ev[i & 63]); });
    cost("launch plain",
         [&](int) { cuLaunchKernel(fspin, 1, 1, 1, 32, 1, 1, 0, plain, az, nullptr); });
    cost("launch green",
         [&](int) { cuLaunchKernel(fspin, 1, 1, 1, 32, 1, 1, 0, green, az, nullptr); });
    cost("launch alternating two greens, hop", [&](int i) {
      CUstream a = i & 1 ? green : streams[0], b = i & 1 ? streams[0] : green;
      cuEventRecord(ev[i & 63], b);
      cuStreamWaitEvent(a, ev[i & 63], 0);
      cuLaunchKernel(fspin, 1, 1, 1, 32, 1, 1, 0, a, az, nullptr);
    });
  }
  printf("done, last error %d\n", cuCtxSynchronize());
}
