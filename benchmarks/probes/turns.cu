// Whose blocks start when: a heavy and a light client of MPS at one priority, kernel by kernel.
// Each kernel notes when its first and its last block started and when the last one ended, on the
// GPU's own timer. What the device model takes for granted is checked with that
// (docs/device-model.md): that nobody's blocks start while an older kernel has blocks to start, how
// many light kernels get in between two heavy ones, how long the gaps are, and which SMs a kernel
// leaves that does not fill them. Without MPS the clients take turns and the numbers say nothing.
// Build: nvcc -arch=sm_90 -std=c++17 -o turns turns.cu
#include <cuda_runtime.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <vector>

#include "attempt.hpp"

using Ns = unsigned long long;
struct Record {
  Ns first, last, end;  // first block started, last block started, last block ended
};

constexpr unsigned kNodes = 10;      // of a graph
constexpr unsigned kReplays = 40;    // of the heavy graph while both run, and of each alone
constexpr unsigned kMost = 200'000;  // kernels noted for one client
constexpr unsigned kSms = 132;

// What both processes see.
struct Shared {
  std::atomic<int> light_ready, heavy_done;
  unsigned light_count, light_alone_count;
  Record light[kMost], light_alone[kNodes * kReplays];
};

__device__ Ns now_ns() {
  Ns now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

// Notes itself at the place that `next` says, which its last block moves on.
__global__ void spin(Record* records, unsigned* next, unsigned* done, unsigned* blocks_on_sm,
                     long long cycles) {
  __shared__ Ns start;
  const unsigned place = *(volatile unsigned*)next;
  Record& record = records[place % kMost];
  if (threadIdx.x == 0) {
    start = now_ns();
    atomicMin(&record.first, start);
    atomicMax(&record.last, start);
    if (blocks_on_sm != nullptr) {
      unsigned sm;
      asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
      atomicAdd(&blocks_on_sm[sm], 1);
    }
  }
  __syncthreads();
  const long long from = clock64();
  while (clock64() - from < cycles) {
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  atomicMax(&record.end, now_ns());
  __threadfence();
  if (atomicAdd(done, 1) == gridDim.x - 1) {
    *done = 0;
    *next = place + 1;
    __threadfence();
  }
}

struct Kind {
  const char* name;
  unsigned blocks, threads, shared_bytes;
  double block_us;
};

// A stream that replays a graph of kNodes kernels of one kind.
struct Client {
  Record* records;
  unsigned *next, *done, *blocks_on_sm;
  cudaStream_t stream;
  cudaGraphExec_t graph;

  Client(const Kind& kind, bool counts_blocks) {
    MUST(cudaMalloc(&records, kMost * sizeof(Record)));
    MUST(cudaMalloc(&next, 4));
    MUST(cudaMalloc(&done, 4));
    MUST(cudaMalloc(&blocks_on_sm, 4 * kSms));
    MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    MUST(cudaFuncSetAttribute(spin, cudaFuncAttributeMaxDynamicSharedMemorySize, 220 << 10));
    int khz = 0;
    MUST(cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, 0));
    const auto cycles = (long long)(kind.block_us * khz / 1e3);
    cudaGraph_t made;
    MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    for (unsigned node = 0; node < kNodes; ++node) {
      spin<<<kind.blocks, kind.threads, kind.shared_bytes, stream>>>(
          records, next, done, counts_blocks ? blocks_on_sm : nullptr, cycles);
    }
    MUST(cudaStreamEndCapture(stream, &made));
    MUST(cudaGraphInstantiate(&graph, made, 0));
    forget();
    replay(3);
    forget();
  }
  void forget() {
    std::vector<Record> empty(kMost, Record{~0ULL, 0, 0});
    MUST(cudaMemcpy(records, empty.data(), kMost * sizeof(Record), cudaMemcpyHostToDevice));
    MUST(cudaMemset(next, 0, 4));
    MUST(cudaMemset(done, 0, 4));
    MUST(cudaMemset(blocks_on_sm, 0, 4 * kSms));
    MUST(cudaDeviceSynchronize());
  }
  void replay(unsigned times) {
    for (unsigned i = 0; i < times; ++i) MUST(cudaGraphLaunch(graph, stream));
    MUST(cudaStreamSynchronize(stream));
  }
  unsigned read(Record* into, unsigned most) {
    unsigned count = 0;
    MUST(cudaMemcpy(&count, next, 4, cudaMemcpyDeviceToHost));
    count = std::min(count, most);
    MUST(cudaMemcpy(into, records, count * sizeof(Record), cudaMemcpyDeviceToHost));
    return count;
  }
};

double median_us(std::vector<double> ns) {
  if (ns.empty()) return -1;
  std::nth_element(ns.begin(), ns.begin() + (long)ns.size() / 2, ns.end());
  return ns[ns.size() / 2] / 1e3;
}

// Within graphs: from one kernel's end to the next one's first block; and how long kernels take.
void print_gaps(const char* who, const Record* records, unsigned count) {
  std::vector<double> gaps, takes;
  for (unsigned i = 0; i < count; ++i) {
    takes.push_back(double(records[i].end - records[i].first));
    if (i % kNodes != 0) gaps.push_back(double(records[i].first) - double(records[i - 1].end));
  }
  printf("  %-12s %6u kernels of %7.2f us, gap %5.2f us\n", who, count, median_us(takes),
         median_us(gaps));
}

// Nobody stays and waits for a process that has failed.
void end_with_parent() { prctl(PR_SET_PDEATHSIG, SIGKILL); }

void light_process(Shared* shared, const Kind& kind) {
  end_with_parent();
  Client light(kind, false);
  light.replay(kReplays);
  shared->light_alone_count = light.read(shared->light_alone, kNodes * kReplays);
  light.forget();
  shared->light_ready = 1;
  while (!shared->heavy_done) light.replay(1);
  shared->light_count = light.read(shared->light, kMost);
  _exit(0);
}

void heavy_process(Shared* shared, const Kind& heavy_kind, const Kind& light_kind) {
  end_with_parent();
  printf("%s; beside it %s\n", heavy_kind.name, light_kind.name);
  Client heavy(heavy_kind, true);
  std::vector<Record> alone(kNodes * kReplays), beside(kNodes * kReplays);
  while (!shared->light_ready && waitpid(-1, nullptr, WNOHANG) == 0) usleep(1000);
  heavy.replay(kReplays);
  const unsigned count = heavy.read(beside.data(), kNodes * kReplays);
  shared->heavy_done = 1;
  int status;
  wait(&status);
  heavy.forget();
  heavy.replay(kReplays);
  print_gaps("heavy alone", alone.data(), heavy.read(alone.data(), kNodes * kReplays));
  print_gaps("heavy beside", beside.data(), count);
  print_gaps("light alone", shared->light_alone, shared->light_alone_count);
  print_gaps("light beside", shared->light, shared->light_count);
  // Where light kernels started: while the heavy kernel had blocks to start, once it had none,
  // before the next one.
  double starting = 0, running = 0, between = 0;
  unsigned i = 0;
  for (unsigned k = 1; k + 1 < count; ++k) {
    while (i < shared->light_count && shared->light[i].first < beside[k].first) ++i;
    for (; i < shared->light_count && shared->light[i].first < beside[k + 1].first; ++i) {
      const Ns start = shared->light[i].first;
      ++(start < beside[k].last ? starting : start < beside[k].end ? running : between);
    }
  }
  const double kernels = std::max(1.0, double(count) - 2);
  printf(
      "  light kernels that start, a heavy kernel: %.2f while it has blocks to start, %.2f while"
      " its last run, %.2f before the next\n",
      starting / kernels, running / kernels, between / kernels);
  fflush(stdout);
  _exit(0);
}

// How many SMs have how many blocks of a kernel that does not fill them, alone on the GPU.
void print_places(const Kind& kind) {
  Client client(kind, true);
  MUST(cudaGraphLaunch(client.graph, client.stream));
  MUST(cudaDeviceSynchronize());
  std::vector<unsigned> on_sm(kSms);
  MUST(cudaMemcpy(on_sm.data(), client.blocks_on_sm, 4 * kSms, cudaMemcpyDeviceToHost));
  std::sort(on_sm.begin(), on_sm.end());
  printf("%s alone, %u times: blocks on an SM from %u to %u, median %u\n", kind.name, kNodes,
         on_sm.front(), on_sm.back(), on_sm[kSms / 2]);
}

int main() {
  const Kind heavies[] = {
      {"190 waves of 1.7 us", 190 * 2112, 128, 0, 1.7},
      {"50 waves of 4 us", 50 * 2112, 128, 0, 4},
      {"12 waves of 27 us, two blocks an SM", 12 * 264, 128, 65'000, 27},
      {"3 waves of 2 us", 3 * 2112, 128, 0, 2},
      {"one wave on 120 SMs, 300 us", 120, 384, 200'000, 300},
      {"one wave on all SMs, 270 us", 132, 384, 200'000, 270},
      {"512 blocks, four an SM, 490 us", 512, 128, 50'000, 490},
  };
  const Kind lights[] = {
      {"16 blocks of 3 us", 16, 128, 0, 3},
      {"200 blocks of 128 threads, 3 us", 200, 128, 0, 3},
      {"111 blocks of 1024 threads, 3 us", 111, 1024, 0, 3},
  };
  for (const Kind& heavy : heavies) {
    for (const Kind& light : lights) {
      auto* shared = (Shared*)mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
      const pid_t child = fork();
      if (child == 0) {
        if (fork() == 0) light_process(shared, light);
        heavy_process(shared, heavy, light);
      }
      int status;
      waitpid(child, &status, 0);
      munmap(shared, sizeof(Shared));
    }
  }
  print_places(heavies[4]);
  print_places(heavies[6]);
  return 0;
}
