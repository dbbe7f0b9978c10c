// Measures the time of a kernel launch in its caller. Each line `COUNT [COLD_KIB]` on the standard
// input is answered by the nanoseconds per launch over COUNT launches on one stream. Before each
// the program reads so much other memory, outside of the measured time: what the launch needs is no
// longer in the caches then, as in a program that does much between two launches. During a batch a
// host function holds the stream, so that the device takes no CPU time and no lock from the caller;
// it is waited for outside of the measured time. A batch is BATCH + 1 launches; a line `begin`
// makes the first of them alone, and is answered by `begun`.
#include <cuda.h>
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

namespace {

constexpr int kBatch = 256;

void* library() {
  static void* const handle = dlopen("libcuda.so.1", RTLD_NOW);
  if (handle == nullptr) {
    std::fprintf(stderr, "launch_bench: %s\n", dlerror());
    std::exit(1);
  }
  return handle;
}

template <typename F>
F* entry(const char* name, F*) {
  auto* found = reinterpret_cast<F*>(dlsym(library(), name));
  if (found == nullptr) {
    std::fprintf(stderr, "launch_bench: libcuda.so.1 has no %s\n", name);
    std::exit(1);
  }
  return found;
}

void require(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "launch_bench: %s gave %d\n", what, static_cast<int>(result));
  std::exit(1);
}

constexpr std::size_t kLineBytes = 64;
volatile char seen = 0;

void read(const std::vector<char>& memory) {
  for (std::size_t at = 0; at < memory.size(); at += kLineBytes) seen = memory[at];
}

void CUDA_CB hold(void* data) { static_cast<std::atomic<bool>*>(data)->wait(true); }

#define FICO_TEXT_OF(name) #name
#define FICO_SYMBOL(name) FICO_TEXT_OF(name)
#define FICO_ENTRY(name) entry(FICO_SYMBOL(name), static_cast<decltype(&name)>(nullptr))

}  // namespace

int main() {
  const auto launch = FICO_ENTRY(cuLaunchKernel);
  const auto host_function = FICO_ENTRY(cuLaunchHostFunc);
  const auto synchronise = FICO_ENTRY(cuStreamSynchronize);
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction spin = nullptr;
  CUstream stream = nullptr;
  require(FICO_ENTRY(cuInit)(0), "cuInit");
  require(FICO_ENTRY(cuDeviceGet)(&device, 0), "cuDeviceGet");
  require(FICO_ENTRY(cuDevicePrimaryCtxRetain)(&context, device), "cuDevicePrimaryCtxRetain");
  require(FICO_ENTRY(cuCtxSetCurrent)(context), "cuCtxSetCurrent");
  require(FICO_ENTRY(cuModuleLoadData)(&module, "fico-emulated-module\nkernel spin op=spin\n"),
          "cuModuleLoadData");
  require(FICO_ENTRY(cuModuleGetFunction)(&spin, module, "spin"), "cuModuleGetFunction");
  require(FICO_ENTRY(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");

  std::atomic<bool> held{false};
  std::vector<char> other;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "begin") {
      require(launch(spin, 1, 1, 1, 32, 1, 1, 0, stream, nullptr, nullptr), "cuLaunchKernel");
      std::puts("begun");
      std::fflush(stdout);
      continue;
    }
    char* rest = nullptr;
    const auto count = static_cast<int>(std::strtol(line.c_str(), &rest, 10));
    other.resize(static_cast<std::size_t>(std::strtol(rest, nullptr, 10)) * 1024);
    std::chrono::nanoseconds spent{0};
    for (int done = 0; done < count; done += kBatch) {
      held.store(true);
      require(host_function(stream, hold, &held), "cuLaunchHostFunc");
      // The first launch of a batch may move the stream.
      require(launch(spin, 1, 1, 1, 32, 1, 1, 0, stream, nullptr, nullptr), "cuLaunchKernel");
      auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kBatch; ++i) {
        if (!other.empty()) {
          spent += std::chrono::steady_clock::now() - start;
          read(other);
          start = std::chrono::steady_clock::now();
        }
        require(launch(spin, 1, 1, 1, 32, 1, 1, 0, stream, nullptr, nullptr), "cuLaunchKernel");
      }
      spent += std::chrono::steady_clock::now() - start;
      held.store(false);
      held.notify_all();
      require(synchronise(stream), "cuStreamSynchronize");
    }
    const int launches = (count + kBatch - 1) / kBatch * kBatch;
    std::printf("%.1f\n", static_cast<double>(spent.count()) / launches);
    std::fflush(stdout);
  }
  return 0;
}
