// A tenant that a program is profiled beside: it keeps its SMs busy with one kind of work and says
// how fast that goes.
//
//   fico-neighbour SMS [--emulated]
//
// reads lines and answers each with one:
//   compute|memory|l2|copy STRENGTH
//                                run from now on, on this part of the SMs        -> running
//   mark                         begin to count                                  -> marked
//   rate                         work since `mark` per second that the GPU worked on it, by its
//                                own clock, in rounds of a block                -> NUMBER
//   stop                         run nothing                                     -> stopped
// and ends with its input.
#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

#include "neighbour/kernels.hpp"

namespace fico::neighbour {
namespace {

constexpr unsigned kThreads = 1024;
// Long enough that the time between launches does not count, short enough to follow the program.
constexpr double kLaunchSeconds = 150e-6;
// Deep enough that a busy host keeps up.
constexpr std::uint64_t kQueued = 4;
// Of the queued launches and of the one that has ended.
constexpr std::uint64_t kEvents = kQueued + 1;
constexpr std::uint64_t kMemoryBytes = 1ULL << 30U;
constexpr std::uint64_t kL2Bytes = 1ULL << 25U;

using Clock = std::chrono::steady_clock;

double seconds_of(Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "fico-neighbour: %s\n", what.c_str());
  std::exit(1);  // NOLINT(concurrency-mt-unsafe)
}

void require(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  fail(std::string(what) + " gave error " + std::to_string(static_cast<int>(result)));
}

// The driver is opened at run time: no library of CUDA's is needed to build.
struct Driver {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);

  template <class Function, class... Arguments>
  CUresult call(const char* name, Arguments... arguments) const {
    auto* function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) fail(std::string("the driver has no ") + name);
    return function(arguments...);
  }
};

// By name and type at once, with the version that cuda.h gives to the name.
#define FICO_TEXT(name) #name
#define FICO_NAME(name) FICO_TEXT(name)
#define FICO_TRY(driver, name, ...) \
  (driver).call<decltype(&::name)>(FICO_NAME(name) __VA_OPT__(, ) __VA_ARGS__)
#define FICO_CALL(driver, name, ...) \
  require(FICO_TRY(driver, name __VA_OPT__(, ) __VA_ARGS__), FICO_NAME(name))

struct Work {
  std::string kind;
  double strength = 0;  // 0: nothing
};

class Neighbour {
 public:
  Neighbour(unsigned sms, bool emulated) : sms_(sms), emulated_(emulated) {
    if (driver_.library == nullptr) fail("libcuda.so.1 can't be loaded");
    FICO_CALL(driver_, cuInit, 0U);
    CUdevice device = 0;
    FICO_CALL(driver_, cuDeviceGet, &device, 0);
    FICO_CALL(driver_, cuDevicePrimaryCtxRetain, &context_, device);
    FICO_CALL(driver_, cuCtxSetCurrent, context_);
    if (!emulated) {
      const CUmodule module = load(kPtx);
      for (const char* kind : {"compute", "memory", "l2", "copy"}) {
        kernels_[kind] = function(module, entry_of(kind));
      }
    }
    allocate();
    FICO_CALL(driver_, cuStreamCreate, &stream_, static_cast<unsigned>(CU_STREAM_NON_BLOCKING));
    for (auto& [begin, end] : events_) {
      for (CUevent* event : {&begin, &end}) {
        FICO_CALL(driver_, cuEventCreate, event, static_cast<unsigned>(CU_EVENT_DEFAULT));
      }
    }
    FICO_CALL(driver_, cuCtxSynchronize);
  }

  // Runs what is asked for until the program ends; kQueued launches are always queued.
  void run() {
    FICO_CALL(driver_, cuCtxSetCurrent, context_);
    Work work;
    unsigned blocks = 0;
    unsigned rounds = 0;
    std::uint64_t launched = 0;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        if (work.strength > 0 && wanted_.strength == 0) {
          lock.unlock();
          FICO_CALL(driver_, cuStreamSynchronize, stream_);
          lock.lock();
        }
        news_.wait(lock, [&] { return wanted_.strength > 0; });
        if (is_new_) {
          is_new_ = false;
          work = wanted_;
          blocks = std::max(1U, static_cast<unsigned>(std::lround(work.strength * sms_)));
          lock.unlock();
          // What was asked for before is over when the new work is counted.
          FICO_CALL(driver_, cuStreamSynchronize, stream_);
          if (emulated_) load_emulated(work);
          rounds = calibrated(work, blocks);
          for (launched = 0; launched < kQueued; ++launched) {
            launch(work, blocks, rounds, around(launched));
          }
          lock.lock();
          started_ = true;
          news_.notify_all();
        }
      }
      launch(work, blocks, rounds, around(launched));
      const Events& ended = around(launched++ - kQueued);
      FICO_CALL(driver_, cuEventSynchronize, ended.end);
      // By the GPU's clock and launch by launch: what the host is late does not count.
      float passed_ms = 0;
      FICO_CALL(driver_, cuEventElapsedTime, &passed_ms, ended.begin, ended.end);
      const std::lock_guard lock(mutex_);
      done_ += static_cast<double>(rounds) * blocks;
      done_s_ += static_cast<double>(passed_ms) / 1e3;
    }
  }

  void want(Work work) {
    std::unique_lock lock(mutex_);
    wanted_ = std::move(work);
    is_new_ = true;
    started_ = false;
    news_.notify_all();
    if (wanted_.strength > 0) news_.wait(lock, [&] { return started_; });
  }

  void mark() {
    const std::lock_guard lock(mutex_);
    marked_ = done_;
    marked_s_ = done_s_;
  }

  double rate() {
    const std::lock_guard lock(mutex_);
    return done_s_ > marked_s_ ? (done_ - marked_) / (done_s_ - marked_s_) : 0;
  }

 private:
  CUmodule load(const char* image) const {
    CUmodule module = nullptr;
    FICO_CALL(driver_, cuModuleLoadData, &module, static_cast<const void*>(image));
    return module;
  }

  CUfunction function(CUmodule module, const char* name) const {
    CUfunction found = nullptr;
    FICO_CALL(driver_, cuModuleGetFunction, &found, module, name);
    return found;
  }

  void allocate() {
    const CUresult result = FICO_TRY(driver_, cuMemAlloc, &buffer_, std::size_t{kMemoryBytes});
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
      fail("it needs 1 GiB of GPU memory, but the program and others leave less free");
    }
    require(result, "cuMemAlloc");
    // The emulated kernels read nothing.
    if (!emulated_) FICO_CALL(driver_, cuMemsetD32, buffer_, 0x5a5a'5a5aU, kMemoryBytes / 4);
  }

  // What a kernel asks of the emulated device is in its module: one for each kind of work. Modules
  // are small and stay.
  void load_emulated(const Work& work) {
    const CUmodule module = load(emulated_module(work.kind, work.strength).c_str());
    kernels_[work.kind] = function(module, entry_of(work.kind));
  }

  struct Events {
    CUevent begin;
    CUevent end;
  };
  const Events& around(std::uint64_t launch) const { return events_[launch % kEvents]; }

  void launch(const Work& work, unsigned blocks, unsigned rounds, const Events& around) {
    // Who writes has one half of the buffer to read and the other to write.
    const std::uint64_t memory_bytes = work.kind == "copy" ? kMemoryBytes / 2 : kMemoryBytes;
    std::uint64_t mask = (work.kind == "l2" ? kL2Bytes : memory_bytes) - 1;
    void* compute_params[] = {&buffer_, &rounds};
    void* memory_params[] = {&buffer_, &mask, &first_, &rounds};
    void** params = work.kind == "compute" ? compute_params : memory_params;
    FICO_CALL(driver_, cuEventRecord, around.begin, stream_);
    FICO_CALL(driver_, cuLaunchKernel, kernels_[work.kind], blocks, 1U, 1U, kThreads, 1U, 1U, 0U,
              stream_, params, static_cast<void**>(nullptr));
    FICO_CALL(driver_, cuEventRecord, around.end, stream_);
    // The next one goes on where this one ends: 4 reads of 16 bytes a round.
    first_ = (first_ + std::uint64_t{rounds} * blocks * kThreads * 64) & mask;
  }

  // Rounds that take about kLaunchSeconds. An emulated launch takes a time of its own.
  unsigned calibrated(const Work& work, unsigned blocks) {
    if (emulated_) return 1;
    unsigned rounds = 16;
    for (int step = 0; step < 6; ++step) {
      const auto begin = Clock::now();
      launch(work, blocks, rounds, events_[0]);
      FICO_CALL(driver_, cuStreamSynchronize, stream_);
      const double passed_s = seconds_of(Clock::now()) - seconds_of(begin);
      const double factor = std::clamp(kLaunchSeconds / passed_s, 0.25, 4.0);
      rounds = std::max(1U, static_cast<unsigned>(rounds * factor));
    }
    return rounds;
  }

  Driver driver_;
  unsigned sms_;
  bool emulated_;
  CUcontext context_ = nullptr;
  std::map<std::string, CUfunction> kernels_;  // by kind of work
  CUdeviceptr buffer_ = 0;
  CUstream stream_ = nullptr;
  Events events_[kEvents]{};
  std::uint64_t first_ = 0;

  std::mutex mutex_;
  std::condition_variable news_;
  Work wanted_;
  bool is_new_ = false;
  bool started_ = false;
  double done_ = 0;
  double done_s_ = 0;
  double marked_ = 0;
  double marked_s_ = 0;
};

void serve(Neighbour& neighbour) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    Work work;
    words >> work.kind;
    if (work.kind == "mark") {
      neighbour.mark();
      std::puts("marked");
    } else if (work.kind == "rate") {
      std::printf("%.9g\n", neighbour.rate());
    } else if (work.kind == "stop") {
      neighbour.want({});
      std::puts("stopped");
    } else if (words >> work.strength && work.strength > 0) {
      neighbour.want(work);
      std::puts("running");
    } else {
      fail("the line '" + line + "' is not understood");
    }
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace fico::neighbour

int main(int count, char** words) {
  const long sms = count > 1 ? std::strtol(words[1], nullptr, 10) : 0;
  if (sms <= 0) {
    std::fprintf(stderr, "usage: fico-neighbour SMS [--emulated]\n");
    return 2;
  }
  // Never destroyed: its thread uses it until the process ends.
  auto* neighbour = new fico::neighbour::Neighbour(
      static_cast<unsigned>(sms), count > 2 && std::strcmp(words[2], "--emulated") == 0);
  std::thread([neighbour] { neighbour->run(); }).detach();
  std::puts("ready");
  std::fflush(stdout);
  fico::neighbour::serve(*neighbour);
  std::_Exit(0);
}
