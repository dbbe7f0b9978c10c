// Works on the device until a line comes on the standard input, then says `right COUNT` or
// `wrong COUNT`: whether the device's memory is what COUNT rounds must leave. Says `ready` after
// the first round. It is made to be killed at any time.
//
//   busy_tenant [--nodes N] [--fork | --hang]
//
// --nodes  kernels of the graph that each round launches, 1 if not given
// --fork   a child becomes the worker by exec, once the parent has done a round; it waits for it
// --hang   after the first round comes a kernel that does not end, and nothing more
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "op_runner_driver.hpp"

namespace {

using fico::testing::DriverEntries;

constexpr std::uint32_t kWords = 16;
constexpr int kRoundsBetweenWaits = 8;
constexpr unsigned kPause_us = 500;
using Words = std::array<std::uint32_t, kWords>;

void require(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "busy_tenant: %s gave %d\n", what, static_cast<int>(result));
  std::exit(1);
}

std::uint32_t mix_word(std::uint32_t word, std::uint32_t seed) {
  word = (word ^ seed) * 0x9E3779B1U;
  word ^= word >> 15;
  word = (word + seed) * 0x85EBCA77U;
  return word ^ (word >> 13);
}

class Worker {
 public:
  Worker(const DriverEntries& api, std::uint32_t nodes) : api_(api), nodes_(nodes) {
    CUcontext context = nullptr;
    CUdevice device = 0;
    require(api_.fico_cuInit(0), "cuInit");
    require(api_.fico_cuDeviceGet(&device, 0), "cuDeviceGet");
    require(api_.fico_cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    require(api_.fico_cuCtxSetCurrent(context), "cuCtxSetCurrent");
    CUmodule module = nullptr;
    constexpr const char* kModule =
        "fico-emulated-module\n"
        "kernel mix op=mix us_per_block=20\n"
        "kernel mix2 op=mix2 us_per_block=20\n"
        "kernel endless op=spin us_per_block=1e12\n";
    require(api_.fico_cuModuleLoadData(&module, kModule), "cuModuleLoadData");
    require(api_.fico_cuModuleGetFunction(&mix_, module, "mix"), "cuModuleGetFunction");
    require(api_.fico_cuModuleGetFunction(&mix2_, module, "mix2"), "cuModuleGetFunction");
    require(api_.fico_cuModuleGetFunction(&endless_, module, "endless"), "cuModuleGetFunction");
    for (CUdeviceptr* buffer : {&first_, &second_}) {
      require(api_.fico_cuMemAlloc(buffer, sizeof(Words)), "cuMemAlloc");
      require(api_.fico_cuMemsetD32(*buffer, 0, kWords), "cuMemsetD32");
    }
    require(api_.fico_cuCtxSynchronize(), "cuCtxSynchronize");
    require(api_.fico_cuStreamCreate(&one_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    require(api_.fico_cuStreamCreate(&two_, CU_STREAM_DEFAULT), "cuStreamCreate");
    require(api_.fico_cuEventCreate(&event_, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    capture();
  }

  // A kernel on each stream, the second after the first, a graph, and work of the legacy stream.
  void round() {
    launch_mix(one_, first_, rounds_);
    require(api_.fico_cuEventRecord(event_, one_), "cuEventRecord");
    require(api_.fico_cuStreamWaitEvent(two_, event_, 0), "cuStreamWaitEvent");
    std::uint32_t words = kWords;
    std::array<void*, 4> params = {&second_, &first_, &words, &rounds_};
    require(api_.fico_cuLaunchKernel(mix2_, 2, 1, 1, 32, 1, 1, 0, two_, params.data(), nullptr),
            "cuLaunchKernel");
    require(api_.fico_cuGraphLaunch(exec_, nullptr), "cuGraphLaunch");
    require(api_.fico_cuEventRecord(event_, nullptr), "cuEventRecord");
    require(api_.fico_cuStreamWaitEvent(one_, event_, 0), "cuStreamWaitEvent");
    for (std::uint32_t i = 0; i < kWords; ++i) {
      first_expected_[i] = mix_word(first_expected_[i], rounds_ + i);
      const std::uint32_t other = 3 * mix_word(first_expected_[i], rounds_);
      second_expected_[i] = mix_word(second_expected_[i] + other, rounds_ + i);
      for (std::uint32_t node = 0; node < nodes_; ++node)
        second_expected_[i] = mix_word(second_expected_[i], kGraphSeed + node + i);
    }
    if (++rounds_ % kRoundsBetweenWaits == 0) {
      require(api_.fico_cuStreamSynchronize(one_), "cuStreamSynchronize");
      usleep(kPause_us);  // leaves the CPUs to the others of its kind
    }
  }

  void hang() {
    require(api_.fico_cuLaunchKernel(endless_, 4, 1, 1, 32, 1, 1, 0, one_, nullptr, nullptr),
            "cuLaunchKernel");
  }

  bool is_right() {
    Words first{};
    Words second{};
    require(api_.fico_cuCtxSynchronize(), "cuCtxSynchronize");
    require(api_.fico_cuMemcpyDtoH(first.data(), first_, sizeof first), "cuMemcpyDtoH");
    require(api_.fico_cuMemcpyDtoH(second.data(), second_, sizeof second), "cuMemcpyDtoH");
    return first == first_expected_ && second == second_expected_;
  }

  std::uint32_t rounds() const { return rounds_; }

 private:
  static constexpr std::uint32_t kGraphSeed = 77;

  void launch_mix(CUstream stream, CUdeviceptr buffer, std::uint32_t seed) {
    std::uint32_t words = kWords;
    std::array<void*, 3> params = {&buffer, &words, &seed};
    require(api_.fico_cuLaunchKernel(mix_, 2, 1, 1, 32, 1, 1, 0, stream, params.data(), nullptr),
            "cuLaunchKernel");
  }

  void capture() {
    CUgraph graph = nullptr;
    require(api_.fico_cuStreamBeginCapture(one_, CU_STREAM_CAPTURE_MODE_GLOBAL),
            "cuStreamBeginCapture");
    for (std::uint32_t node = 0; node < nodes_; ++node)
      launch_mix(one_, second_, kGraphSeed + node);
    require(api_.fico_cuStreamEndCapture(one_, &graph), "cuStreamEndCapture");
    require(api_.fico_cuGraphInstantiate(&exec_, graph, 0), "cuGraphInstantiate");
  }

  const DriverEntries& api_;
  const std::uint32_t nodes_;
  CUfunction mix_ = nullptr;
  CUfunction mix2_ = nullptr;
  CUfunction endless_ = nullptr;
  CUdeviceptr first_ = 0;
  CUdeviceptr second_ = 0;
  CUstream one_ = nullptr;
  CUstream two_ = nullptr;
  CUevent event_ = nullptr;
  CUgraphExec exec_ = nullptr;
  std::uint32_t rounds_ = 0;
  Words first_expected_{};
  Words second_expected_{};
};

bool line_came() {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  return poll(&input, 1, 0) > 0;
}

// A child that becomes this program anew.
int work_in_child(const char* program, const std::string& nodes) {
  const pid_t child = fork();
  if (child == 0) {
    execl(program, program, "--nodes", nodes.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string nodes = "1";
  bool forks = false;
  bool hangs = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    forks |= option == "--fork";
    hangs |= option == "--hang";
    if (option == "--nodes" && i + 1 < argc) nodes = argv[++i];
  }
  const auto driver = fico::testing::reach_driver("dlsym");
  Worker worker(driver.legacy, static_cast<std::uint32_t>(std::stoul(nodes)));
  if (forks) {
    worker.round();
    const bool right = worker.is_right();
    return work_in_child(argv[0], nodes) != 0 || !right ? 1 : 0;
  }
  if (hangs) {
    worker.round();
    worker.hang();
    std::puts("ready");
    std::fflush(stdout);
    pause();
  }
  do {
    worker.round();
    if (worker.rounds() == 1) {
      std::puts("ready");
      std::fflush(stdout);
    }
  } while (!line_came());
  const bool right = worker.is_right();
  std::printf("%s %u\n", right ? "right" : "wrong", worker.rounds());
  return right ? 0 : 1;
}
