// What the tests of the emulated device share: the library, opened at run time, and a module.
#pragma once

#include <cuda.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "check.hpp"

namespace fico::check {

inline void* library() {
  static void* handle = dlopen(FICO_EMULATED_LIBRARY, RTLD_NOW);
  if (!handle) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(1);
  }
  return handle;
}

template <class Entry>
Entry entry(const char* symbol) {
  auto found = reinterpret_cast<Entry>(dlsym(library(), symbol));
  if (!found) {
    std::fprintf(stderr, "%s is not exported\n", symbol);
    std::exit(1);
  }
  return found;
}

// The symbol that cuda.h means by a name; the name is expanded as cuda.h defines it.
#define CU_TEXT(name) #name
#define CU_SYMBOL(name) CU_TEXT(name)
#define CU(name) ::fico::check::entry<decltype(&::name)>(CU_SYMBOL(name))
#define OK(call) CHECK_EQ(call, CUDA_SUCCESS)

inline constexpr const char* kModule =
    "fico-emulated-module\n"
    "kernel spin op=spin us_per_block=10 blocks_per_sm=4\n"
    "kernel slow op=spin us_per_block=1000 blocks_per_sm=1\n"
    "kernel flat op=spin us_per_block=100 blocks_per_sm=1 saturates_sms=32\n"
    "kernel curved op=spin curve=9000,5000,4000 blocks_per_sm=2\n"
    "kernel loud op=spin us_per_block=1000 pressure=0,1,0\n"
    "kernel touchy op=spin us_per_block=1000 sensitivity=0.1,0.6,0\n"
    "kernel args op=spin params=8,4,1,16\n"
    "kernel fill op=fill\n"
    "kernel axpy op=axpy\n"
    "kernel mix op=mix\n"
    "kernel mix2 op=mix2\n"
    "kernel fault op=fault\n"
    "global table bytes=256\n";

/// Initialises the driver in a process of its own device: instant with a seed, or timed.
struct World {
  CUcontext context = nullptr;
  CUmodule module = nullptr;

  static World instant(const char* seed = "1") {
    setenv("FICO_EMULATED_INSTANT", "1", 1);
    if (seed) setenv("FICO_EMULATED_SEED", seed, 1);
    return World();
  }
  static World timed(const char* dilation = "1") {
    char path[64];
    std::snprintf(path, sizeof path, "/dev/shm/fico-emulator-test-%d", static_cast<int>(getpid()));
    setenv("FICO_EMULATED_STATE", path, 1);
    setenv("FICO_EMULATED_DILATION", dilation, 1);
    World world;
    unlink(path);
    return world;
  }

  World() {
    OK(CU(cuInit)(0));
    OK(CU(cuDevicePrimaryCtxRetain)(&context, 0));
    OK(CU(cuCtxSetCurrent)(context));
    OK(CU(cuModuleLoadData)(&module, kModule));
  }

  CUfunction function(const char* name) const {
    CUfunction found = nullptr;
    OK(CU(cuModuleGetFunction)(&found, module, name));
    return found;
  }
};

inline CUstream make_stream(unsigned flags = CU_STREAM_NON_BLOCKING) {
  CUstream stream = nullptr;
  OK(CU(cuStreamCreate)(&stream, flags));
  return stream;
}

/// Device memory of `count` zeros.
inline CUdeviceptr make_buffer(std::uint32_t count) {
  CUdeviceptr buffer = 0;
  OK(CU(cuMemAlloc)(&buffer, count * sizeof(std::uint32_t)));
  return buffer;
}

inline std::uint32_t first_value(CUdeviceptr buffer) {
  return *reinterpret_cast<volatile std::uint32_t*>(buffer);
}

inline CUresult launch(CUfunction function, CUstream stream, void** params, unsigned blocks = 1) {
  return CU(cuLaunchKernel)(function, blocks, 1, 1, 32, 1, 1, 0, stream, params, nullptr);
}

inline void mix(const World& world, CUstream stream, CUdeviceptr buffer, std::uint32_t count,
                std::uint32_t seed) {
  void* params[] = {&buffer, &count, &seed};
  static const CUfunction function = world.function("mix");
  OK(launch(function, stream, params));
}

/// A green context of the co-scheduled units [lo, hi) of 8 SMs.
inline CUgreenCtx make_green(unsigned lo, unsigned hi) {
  CUdevResource device{};
  OK(CU(cuDeviceGetDevResource)(0, &device, CU_DEV_RESOURCE_TYPE_SM));
  unsigned count = 15;
  std::vector<CUdevResource> groups(count);
  CUdevResource rest{};
  OK(CU(cuDevSmResourceSplitByCount)(groups.data(), &count, &device, &rest, 0, 8));
  CUdevResourceDesc description = nullptr;
  OK(CU(cuDevResourceGenerateDesc)(&description, groups.data() + lo, hi - lo));
  CUgreenCtx green = nullptr;
  OK(CU(cuGreenCtxCreate)(&green, description, 0, CU_GREEN_CTX_DEFAULT_STREAM));
  return green;
}

inline CUstream make_green_stream(CUgreenCtx green) {
  CUstream stream = nullptr;
  OK(CU(cuGreenCtxStreamCreate)(&stream, green, CU_STREAM_NON_BLOCKING, 0));
  return stream;
}

}  // namespace fico::check
