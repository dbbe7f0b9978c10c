// A library that, opened with RTLD_DEEPBIND, reaches the driver past a preloaded one: its `dlsym`
// is the C library's.
#include <dlfcn.h>

extern "C" __attribute__((visibility("default"))) void* find_launch() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  return driver == nullptr ? nullptr : dlsym(driver, "cuLaunchKernel");
}
