// Every way in which a CUDA program orders its work, each as a scene of its own: the legacy default
// stream, per-thread default streams, blocking and non-blocking streams, events, copies, host
// functions, a graph and cooperative launches. Writes the bytes of all results to standard output.
//
// No two operations of a scene commute, so results tell any change of order. Built twice: with the
// legacy default stream, and with --default-stream per-thread (then kernels without a stream go to
// that of their thread, and the legacy stream is named where a scene is about it).
#include <cooperative_groups.h>

#include <cstdint>
#include <cstdlib>
#include <thread>
#include <vector>

#include "cuda_check.hpp"

namespace {

constexpr int kWords = 1 << 18;
constexpr int kThreads = 256;
constexpr int kBlocks = kWords / kThreads;
constexpr std::size_t kBytes = kWords * sizeof(std::uint32_t);
constexpr int kRounds = 40;

using Words = std::vector<std::uint32_t>;

__host__ __device__ std::uint32_t mixed(std::uint32_t word, std::uint32_t salt) {
  word = (word ^ salt) * 0x9E3779B1U;
  word ^= word >> 15;
  return (word + salt) * 0x85EBCA77U;
}

// `turns` makes it short or long: a short kernel overtakes a long one if nothing keeps the order.
__global__ void mix(std::uint32_t* words, std::uint32_t salt, int turns) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  std::uint32_t word = words[at];
  for (int turn = 0; turn < turns; ++turn) word = mixed(word, salt + turn);
  words[at] = word;
}

__global__ void combine(std::uint32_t* to, const std::uint32_t* from, std::uint32_t salt) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  to[at] = mixed(to[at], from[(at * 17 + salt) % kWords] ^ salt);
}

// Each round reads what other blocks wrote in the round before: needs all blocks at the same time.
__global__ void mix_together(std::uint32_t* words, std::uint32_t* other, int rounds) {
  const auto grid = cooperative_groups::this_grid();
  const int threads = gridDim.x * blockDim.x;
  const int self = blockIdx.x * blockDim.x + threadIdx.x;
  for (int round = 0; round < rounds; ++round) {
    for (int at = self; at < kWords; at += threads) {
      other[at] = mixed(words[at], words[(at + 4099 * (round + 1)) % kWords]);
    }
    grid.sync();
    std::uint32_t* const written = other;
    other = words;
    words = written;
  }
}

int turns_of(int round) { return round % 5 == 0 ? 2000 : 20; }

#ifdef CUDA_API_PER_THREAD_DEFAULT_STREAM
cudaStream_t legacy() { return cudaStreamLegacy; }
#else
cudaStream_t legacy() { return nullptr; }
#endif

class Buffer {
 public:
  explicit Buffer(std::uint32_t seed) {
    Words words(kWords);
    for (int i = 0; i < kWords; ++i) words[i] = mixed(i, seed);
    CHECK(cudaMalloc(&words_, kBytes));
    CHECK(cudaMemcpy(words_, words.data(), kBytes, cudaMemcpyHostToDevice));
  }
  std::uint32_t* get() const { return words_; }
  void give(Words& results) const {
    Words words(kWords);
    CHECK(cudaMemcpy(words.data(), words_, kBytes, cudaMemcpyDeviceToHost));
    results.insert(results.end(), words.begin(), words.end());
    CHECK(cudaFree(words_));
  }

 private:
  std::uint32_t* words_ = nullptr;
};

// Nothing but the legacy stream's own rule orders these kernels.
void legacy_order(std::uint32_t seed, Words& results) {
  cudaStream_t a = nullptr;
  cudaStream_t b = nullptr;
  CHECK(cudaStreamCreate(&a));
  CHECK(cudaStreamCreate(&b));
  const Buffer buffer(seed);
  CHECK(cudaDeviceSynchronize());
  for (int round = 0; round < kRounds; ++round) {
    mix<<<kBlocks, kThreads, 0, a>>>(buffer.get(), 3 * round, turns_of(round));
    mix<<<kBlocks, kThreads, 0, legacy()>>>(buffer.get(), 3 * round + 1, turns_of(round + 1));
    mix<<<kBlocks, kThreads, 0, b>>>(buffer.get(), 3 * round + 2, turns_of(round + 2));
    if (round % 8 == 3) CHECK(cudaMemsetAsync(buffer.get(), round, 4096, legacy()));
    // Between b and the next round's a there is only this one.
    mix<<<kBlocks, kThreads, 0, legacy()>>>(buffer.get(), round, 1);
  }
  CHECK(cudaStreamSynchronize(legacy()));
  CHECK(cudaDeviceSynchronize());
  buffer.give(results);
  CHECK(cudaStreamDestroy(a));
  CHECK(cudaStreamDestroy(b));
}

// Kernels and copies without a stream, from several threads.
void default_streams(std::uint32_t seed, Words& results) {
  constexpr int kHostThreads = 4;
  std::vector<Words> of_threads(kHostThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kHostThreads; ++thread) {
    threads.emplace_back([seed, thread, &mine = of_threads[thread]] {
      const Buffer to(seed + 10 + thread);
      const Buffer from(seed + 20 + thread);
      for (int round = 0; round < kRounds; ++round) {
        mix<<<kBlocks, kThreads>>>(from.get(), round, turns_of(round));
        combine<<<kBlocks, kThreads>>>(to.get(), from.get(), round);
        if (round % 10 == 9) {
          CHECK(cudaMemcpy(from.get(), to.get(), kBytes / 2, cudaMemcpyDeviceToDevice));
        }
        CHECK(cudaGetLastError());
      }
      to.give(mine);
      from.give(mine);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Words& words : of_threads) results.insert(results.end(), words.begin(), words.end());
}

// Two non-blocking streams take turns, kept in order by events alone.
void events(std::uint32_t seed, Words& results) {
  cudaStream_t streams[2];
  cudaEvent_t done[2];
  int least = 0;
  int greatest = 0;
  CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  for (int i = 0; i < 2; ++i) {
    CHECK(cudaStreamCreateWithPriority(&streams[i], cudaStreamNonBlocking, i ? greatest : least));
    CHECK(cudaEventCreateWithFlags(&done[i], cudaEventDisableTiming));
  }
  const Buffer shared(seed + 30);
  const Buffer own(seed + 31);
  CHECK(cudaDeviceSynchronize());
  for (int round = 0; round < kRounds; ++round) {
    const int now = round % 2;
    if (round > 0) CHECK(cudaStreamWaitEvent(streams[now], done[1 - now], 0));
    mix<<<kBlocks, kThreads, 0, streams[now]>>>(shared.get(), round, turns_of(round));
    CHECK(cudaEventRecord(done[now], streams[now]));
    if (now == 0) mix<<<kBlocks, kThreads, 0, streams[0]>>>(own.get(), round, turns_of(round + 1));
  }
  for (int i = 0; i < 2; ++i) {
    CHECK(cudaStreamSynchronize(streams[i]));
    CHECK(cudaEventQuery(done[i]));
    CHECK(cudaEventDestroy(done[i]));
    CHECK(cudaStreamDestroy(streams[i]));
  }
  shared.give(results);
  own.give(results);
}

void CUDART_CB mix_on_host(void* data) {
  auto* words = static_cast<std::uint32_t*>(data);
  for (int i = 0; i < kWords; ++i) words[i] = mixed(words[i], words[(i + 1) % kWords]);
}

// To the host, through a host function, and back, all in one stream.
void copies(std::uint32_t seed, Words& results) {
  cudaStream_t stream = nullptr;
  std::uint32_t* host = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CHECK(cudaMallocHost(&host, kBytes));
  const Buffer buffer(seed + 40);
  CHECK(cudaDeviceSynchronize());
  for (int round = 0; round < 10; ++round) {
    mix<<<kBlocks, kThreads, 0, stream>>>(buffer.get(), round, turns_of(round));
    CHECK(cudaMemcpyAsync(host, buffer.get(), kBytes, cudaMemcpyDeviceToHost, stream));
    CHECK(cudaLaunchHostFunc(stream, &mix_on_host, host));
    CHECK(cudaMemcpyAsync(buffer.get(), host, kBytes, cudaMemcpyHostToDevice, stream));
    CHECK(cudaMemsetAsync(buffer.get() + round * 1000, round, 4000, stream));
  }
  CHECK(cudaStreamSynchronize(stream));
  buffer.give(results);
  CHECK(cudaFreeHost(host));
  CHECK(cudaStreamDestroy(stream));
}

// A graph of two branches that join, recorded from streams and launched between other kernels.
void graphs(std::uint32_t seed, Words& results) {
  cudaStream_t main_branch = nullptr;
  cudaStream_t side_branch = nullptr;
  cudaEvent_t forked = nullptr;
  cudaEvent_t joined = nullptr;
  CHECK(cudaStreamCreateWithFlags(&main_branch, cudaStreamNonBlocking));
  CHECK(cudaStreamCreateWithFlags(&side_branch, cudaStreamNonBlocking));
  CHECK(cudaEventCreateWithFlags(&forked, cudaEventDisableTiming));
  CHECK(cudaEventCreateWithFlags(&joined, cudaEventDisableTiming));
  const Buffer first(seed + 50);
  const Buffer second(seed + 51);
  CHECK(cudaDeviceSynchronize());

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  CHECK(cudaStreamBeginCapture(main_branch, cudaStreamCaptureModeGlobal));
  mix<<<kBlocks, kThreads, 0, main_branch>>>(first.get(), 1, 500);
  CHECK(cudaEventRecord(forked, main_branch));
  CHECK(cudaStreamWaitEvent(side_branch, forked, 0));
  mix<<<kBlocks, kThreads, 0, side_branch>>>(second.get(), 2, 100);
  combine<<<kBlocks, kThreads, 0, side_branch>>>(second.get(), first.get(), 3);
  CHECK(cudaMemsetAsync(second.get(), 7, 256, side_branch));
  CHECK(cudaEventRecord(joined, side_branch));
  CHECK(cudaStreamWaitEvent(main_branch, joined, 0));
  combine<<<kBlocks, kThreads, 0, main_branch>>>(first.get(), second.get(), 4);
  CHECK(cudaMemcpyAsync(first.get(), second.get(), 1024, cudaMemcpyDeviceToDevice, main_branch));
  CHECK(cudaStreamEndCapture(main_branch, &graph));
  CHECK(cudaGraphInstantiate(&executable, graph, 0));

  for (int round = 0; round < kRounds; ++round) {
    CHECK(cudaGraphLaunch(executable, main_branch));
    mix<<<kBlocks, kThreads, 0, main_branch>>>(second.get(), round, turns_of(round));
  }
  CHECK(cudaStreamSynchronize(main_branch));
  first.give(results);
  second.give(results);
  CHECK(cudaGraphExecDestroy(executable));
  CHECK(cudaGraphDestroy(graph));
  CHECK(cudaEventDestroy(forked));
  CHECK(cudaEventDestroy(joined));
  CHECK(cudaStreamDestroy(main_branch));
  CHECK(cudaStreamDestroy(side_branch));
}

// As many blocks as the whole GPU takes at once, then a few: the first fit no smaller partition.
void cooperative(std::uint32_t seed, Words& results) {
  int device = 0;
  int sms = 0;
  int per_sm = 0;
  CHECK(cudaGetDevice(&device));
  CHECK(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device));
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, mix_together, kThreads, 0));
  cudaStream_t stream = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const int blocks : {sms * per_sm, 8}) {
    const Buffer words(seed + 60);
    const Buffer other(seed + 61);
    CHECK(cudaDeviceSynchronize());
    std::uint32_t* from = words.get();
    std::uint32_t* to = other.get();
    int rounds = 7;
    void* arguments[] = {&from, &to, &rounds};
    mix<<<kBlocks, kThreads, 0, stream>>>(from, 5, 300);
    CHECK(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(&mix_together), dim3(blocks),
                                      dim3(kThreads), arguments, 0, stream));
    combine<<<kBlocks, kThreads, 0, stream>>>(from, to, 6);
    CHECK(cudaStreamSynchronize(stream));
    words.give(results);
    other.give(results);
  }
  CHECK(cudaStreamDestroy(stream));
}

}  // namespace

int main(int count, char** arguments) {
  const std::uint32_t seed = count > 1 ? std::strtoul(arguments[1], nullptr, 10) : 1;
  Words results;
  legacy_order(seed, results);
  default_streams(seed, results);
  events(seed, results);
  copies(seed, results);
  graphs(seed, results);
  cooperative(seed, results);
  CHECK(cudaDeviceSynchronize());
  const std::size_t written =
      std::fwrite(results.data(), sizeof(results[0]), results.size(), stdout);
  return written == results.size() && std::fflush(stdout) == 0 ? 0 : 1;
}
