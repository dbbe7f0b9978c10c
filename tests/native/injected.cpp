// A library that the emulated driver is told to load (CUDA_INJECTION64_PATH). It counts how often
// it is initialised, and calls the driver while that goes on.
#include <cuda.h>
#include <dlfcn.h>

#include <atomic>

extern "C" {

__attribute__((visibility("default"))) std::atomic<int> injected_count{0};
__attribute__((visibility("default"))) std::atomic<int> injected_devices{0};

__attribute__((visibility("default"))) int InitializeInjection() {
  ++injected_count;
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  const auto init = reinterpret_cast<decltype(&cuInit)>(dlsym(driver, "cuInit"));
  const auto count =
      reinterpret_cast<decltype(&cuDeviceGetCount)>(dlsym(driver, "cuDeviceGetCount"));
  int devices = 0;
  if (init(0) == CUDA_SUCCESS && count(&devices) == CUDA_SUCCESS) injected_devices = devices;
  return 1;
}
}
