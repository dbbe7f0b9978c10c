#include "emulator/injection.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace fico::emulator {
namespace {

constexpr const char* kVariable = "CUDA_INJECTION64_PATH";

void report(const char* path, const char* why) {
  std::fprintf(stderr, "fico emulator: %s=%s is ignored: %s\n", kVariable, path, why);
}

void inject() {
  const char* path = std::getenv(kVariable);
  if (!path || !*path) return;
  void* injected = dlopen(path, RTLD_NOW);
  if (!injected) return report(path, dlerror());
  const auto initialise = reinterpret_cast<int (*)()>(dlsym(injected, "InitializeInjection"));
  if (!initialise) return report(path, "it has no InitializeInjection");
  initialise();
}

}  // namespace

void inject_once() {
  static std::once_flag once;
  // The library may call cuInit itself.
  thread_local bool is_injecting = false;
  if (is_injecting) return;
  is_injecting = true;
  std::call_once(once, inject);
  is_injecting = false;
}

}  // namespace fico::emulator
