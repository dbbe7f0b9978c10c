#include "emulator/runtime.hpp"

#include <pthread.h>

#include <cstdlib>

#include "emulator/capture.hpp"
#include "emulator/context.hpp"
#include "emulator/event.hpp"
#include "emulator/graph.hpp"
#include "emulator/injection.hpp"
#include "emulator/module.hpp"

namespace fico::emulator {
namespace {

void after_fork_in_child() {
  // A context does not survive a fork, and the mutex may be held by a thread that is gone.
  auto& rt = runtime();
  if (rt.phase.load() == Runtime::Phase::kInitialised) rt.phase = Runtime::Phase::kForked;
}

void at_exit() {
  if (runtime().phase.load() == Runtime::Phase::kInitialised) shared_state().close();
}

}  // namespace

Runtime::Runtime() = default;
Runtime::~Runtime() = default;

Runtime& runtime() {
  static auto& instance = *new Runtime;
  return instance;
}

ThreadState& this_thread() {
  static std::atomic<std::uint64_t> next{1};
  thread_local ThreadState state{
      {}, CU_STREAM_CAPTURE_MODE_GLOBAL, next.fetch_add(1, std::memory_order_relaxed)};
  return state;
}

namespace {

CUresult initialise() noexcept {
  try {
    auto& rt = runtime();
    if (rt.phase.load(std::memory_order_acquire) == Runtime::Phase::kInitialised) {
      return CUDA_SUCCESS;
    }
    if (rt.phase.load() == Runtime::Phase::kForked) return CUDA_ERROR_NOT_INITIALIZED;
    const std::lock_guard lock(rt.mutex);
    if (rt.phase.load() == Runtime::Phase::kInitialised) return CUDA_SUCCESS;
    rt.settings = read_settings();
    if (rt.settings.instant) {
      shared_state().open_private();
    } else {
      shared_state().open(rt.settings.state_path);
    }
    rt.executor.configure(rt.settings);
    memory().set_limit(rt.settings.memory_limit_bytes);
    auto primary = std::make_unique<Context>();
    primary->kind = Context::Kind::kPrimary;
    rt.primary = primary.get();
    rt.contexts.add<CUcontext>(std::move(primary));
    pthread_atfork(nullptr, nullptr, after_fork_in_child);
    std::atexit(at_exit);
    rt.phase.store(Runtime::Phase::kInitialised, std::memory_order_release);
    return CUDA_SUCCESS;
  } catch (const std::bad_alloc&) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  } catch (...) {
    return CUDA_ERROR_OPERATING_SYSTEM;
  }
}

}  // namespace
}  // namespace fico::emulator

using namespace fico::emulator;

CUresult cuInit(unsigned flags) {
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  const auto result = initialise();
  if (result == CUDA_SUCCESS) inject_once();
  return result;
}

CUresult cuDriverGetVersion(int* version) {
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = 13000;
  return CUDA_SUCCESS;
}
