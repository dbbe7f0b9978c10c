// Keeps its SMs busy with a compute-bound kernel of many blocks, on command. Lines of standard
// input, each answered on standard output; times are CLOCK_MONOTONIC:
//
//   (at start)           ready NS       when the first result had come back from the GPU
//   run SECONDS DEPTH    ran MEDIAN_US P10_US P90_US LAUNCHES_PER_S INTERVALS
//   trace                a line `END_NS DURATION_NS` per launch, then `end`; lasts until the next
//                        line of input, whatever it is
//
// `run` waits for the GPU after every DEPTH launches and takes the time of one launch from that;
// `trace` waits after every launch. The program ends with its input.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <vector>

#include "cuda_check.hpp"

namespace {

constexpr int kBlocks = 2112;
constexpr int kThreads = 128;
// So much of it that two blocks fit on an SM: time follows the number of SMs, in small steps.
constexpr int kSharedBytes = 100 << 10;
constexpr int kTurns = 5000;

__global__ void burn(float* result, float factor, int turns) {
  float value = threadIdx.x;
  for (int turn = 0; turn < turns; ++turn) value = fmaf(value, factor, 1.0F);
  if (threadIdx.x == 0) result[blockIdx.x] = value;
}

std::int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

struct Interval {
  std::int64_t end_ns;
  std::int64_t duration_ns;
};

// Works until is_over(time of the last end).
template <class IsOver>
std::vector<Interval> work(float* result, cudaStream_t stream, int depth, IsOver is_over) {
  std::vector<Interval> intervals;
  intervals.reserve(1 << 20);
  for (std::int64_t before_ns = now_ns(); !is_over(before_ns);) {
    for (int launch = 0; launch < depth; ++launch) {
      burn<<<kBlocks, kThreads, kSharedBytes, stream>>>(result, 0.999F, kTurns);
    }
    CHECK(cudaGetLastError());
    CHECK(cudaStreamSynchronize(stream));
    const std::int64_t after_ns = now_ns();
    intervals.push_back({after_ns, (after_ns - before_ns) / depth});
    before_ns = after_ns;
  }
  return intervals;
}

bool has_input() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return poll(&input, 1, 0) > 0;
}

void report(std::vector<Interval> intervals) {
  if (intervals.empty()) intervals.push_back({0, 0});
  std::ranges::sort(intervals, {}, &Interval::duration_ns);
  std::int64_t sum_ns = 0;
  for (const Interval& interval : intervals) sum_ns += interval.duration_ns;
  const std::size_t count = intervals.size();
  const auto at_us = [&](std::size_t percent) {
    return static_cast<double>(intervals[(count - 1) * percent / 100].duration_ns) / 1e3;
  };
  std::printf(
      "ran %.3f %.3f %.3f %.1f %zu\n", at_us(50), at_us(10), at_us(90),
      1e9 * static_cast<double>(count) / static_cast<double>(std::max<std::int64_t>(sum_ns, 1)),
      count);
}

}  // namespace

int main() {
  float* result = nullptr;
  float first = 0;
  CHECK(cudaMalloc(&result, kBlocks * sizeof(float)));
  CHECK(cudaFuncSetAttribute(burn, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes));
  burn<<<1, kThreads, kSharedBytes>>>(result, 0.5F, 10);
  CHECK(cudaMemcpy(&first, result, sizeof first, cudaMemcpyDeviceToHost));
  std::printf("ready %lld\n", static_cast<long long>(now_ns()));
  std::fflush(stdout);

  cudaStream_t stream = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  char line[256];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    double seconds = 0;
    int depth = 1;
    if (std::sscanf(line, "run %lf %d", &seconds, &depth) >= 1) {
      const std::int64_t stop_ns = now_ns() + static_cast<std::int64_t>(seconds * 1e9);
      report(work(result, stream, std::max(depth, 1),
                  [stop_ns](std::int64_t time_ns) { return time_ns >= stop_ns; }));
    } else if (std::strcmp(line, "trace\n") == 0) {
      for (const Interval& interval :
           work(result, stream, 1, [](std::int64_t) { return has_input(); })) {
        std::printf("%lld %lld\n", static_cast<long long>(interval.end_ns),
                    static_cast<long long>(interval.duration_ns));
      }
      std::puts("end");
    } else {
      continue;  // the line that ended a trace
    }
    std::fflush(stdout);
  }
  return 0;
}
