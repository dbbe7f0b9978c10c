// The state behind the API, and the frame that every entry point runs in.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "emulator/executor.hpp"
#include "emulator/memory.hpp"
#include "emulator/settings.hpp"

namespace fico::emulator {

struct Context;
struct Stream;
struct Event;
struct Module;
struct Function;
struct Graph;
struct Node;
struct GraphExec;
struct Capture;

/// Ends an entry point with this error. Never leaves the library.
struct Failure : std::exception {
  explicit Failure(CUresult c) : code(c) {}
  CUresult code;
};

[[noreturn]] inline void fail(CUresult code) { throw Failure{code}; }
inline void require(bool condition, CUresult code) {
  if (!condition) fail(code);
}
inline void require_value(bool condition) { require(condition, CUDA_ERROR_INVALID_VALUE); }

/// Objects that the program holds handles of. A handle is the object's address, so that a new
/// object may get the handle of a destroyed one, as with the real driver; lookup never dereferences
/// it.
template <class T>
class Table {
 public:
  template <class Handle>
  Handle add(std::unique_ptr<T> object) {
    auto* raw = object.get();
    objects_.emplace(raw, std::move(object));
    return reinterpret_cast<Handle>(raw);
  }
  T* find(const void* handle) const {
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second.get();
  }
  T& get(const void* handle, CUresult missing = CUDA_ERROR_INVALID_HANDLE) const {
    auto* object = find(handle);
    require(object != nullptr, missing);
    return *object;
  }
  void remove(const void* handle) { objects_.erase(handle); }
  template <class Condition>
  void remove_if(Condition condition) {
    std::erase_if(objects_, [&](const auto& entry) { return condition(*entry.second); });
  }
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [handle, object] : objects_) visit(*object);
  }

 private:
  std::unordered_map<const void*, std::unique_ptr<T>> objects_;
};

/// All of it is guarded by `mutex`; the executor has none of it.
struct Runtime {
  Runtime();
  ~Runtime();

  std::mutex mutex;
  Settings settings;
  Executor executor;
  Context* primary = nullptr;  // lives for ever, active or not
  Table<Context> contexts;
  Table<Stream> streams;
  Table<Event> events;
  Table<Module> modules;
  Table<Function> functions;
  Table<Graph> graphs;
  Table<Node> nodes;
  Table<GraphExec> execs;
  std::vector<std::shared_ptr<Capture>> captures;  // those that go on
  std::uint64_t next_id = 1;
  std::uint32_t last_correlation_id = 0;

  enum class Phase : std::uint8_t { kUninitialised, kInitialised, kForked };
  std::atomic<Phase> phase{Phase::kUninitialised};
};

/// Made on first use and never destroyed: the executor outlives static destructors.
Runtime& runtime();

/// What belongs to one thread of the program.
struct ThreadState {
  std::vector<CUcontext> contexts;  // the current one last
  CUstreamCaptureMode capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::uint64_t id = 0;  // never used again by another thread
};
ThreadState& this_thread();

/// The frame of one call: the state, locked.
class Call {
 public:
  Call() : rt(runtime()), lock_(rt.mutex) {}

  /// Waits with the lock released: references into the tables are void afterwards.
  void wait(const std::vector<OpRef>& ops) {
    lock_.unlock();
    for (const auto& op : ops) rt.executor.wait(op);
    lock_.lock();
    require(rt.executor.fault() == CUDA_SUCCESS, rt.executor.fault());
  }

  /// A number for this call, the same each time it is asked for.
  std::uint32_t correlation_id() {
    if (!correlation_id_) correlation_id_ = ++rt.last_correlation_id;
    return correlation_id_;
  }

  /// Waits for this when the call is over.
  void wait_at_end(OpRef op) { at_end_ = std::move(op); }

  ~Call() {
    if (!at_end_) return;
    lock_.unlock();
    rt.executor.wait(at_end_);
  }

  Runtime& rt;

 private:
  OpRef at_end_;
  std::uint32_t correlation_id_ = 0;
  std::unique_lock<std::mutex> lock_;
};

/// Runs the body of an entry point, which may throw Failure, and turns the outcome into its result.
template <class Body>
CUresult api(Body body) noexcept {
  try {
    auto& rt = runtime();
    if (rt.phase.load(std::memory_order_acquire) != Runtime::Phase::kInitialised) {
      return CUDA_ERROR_NOT_INITIALIZED;
    }
    if (inside_host_call()) return CUDA_ERROR_NOT_PERMITTED;
    if (rt.executor.fault() != CUDA_SUCCESS) return rt.executor.fault();
    Call call;
    return body(call);
  } catch (const Failure& failure) {
    return failure.code;
  } catch (const std::bad_alloc&) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  } catch (...) {
    return CUDA_ERROR_OPERATING_SYSTEM;
  }
}

}  // namespace fico::emulator
