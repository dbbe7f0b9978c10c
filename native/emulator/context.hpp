// Contexts: primary, created and green ones.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <vector>

#include "device/sm_set.hpp"
#include "emulator/runtime.hpp"
#include "emulator/stream.hpp"

namespace fico::emulator {

/// A green context is a Context too; the program has two handles of it, its own and a CUcontext.
struct Context {
  enum class Kind : std::uint8_t { kPrimary, kCreated, kGreen };
  Kind kind = Kind::kCreated;
  Context* root = this;  // of a green context: the primary one; otherwise itself
  device::SmSet sms = device::SmSet::all();
  bool co_scheduled = true;  // clusters can run
  unsigned flags = 0;
  unsigned api_version = 0;
  std::uint64_t id = 0;
  unsigned users = 0;  // of the primary context: retains and green contexts; 0 is inactive
  std::map<CUlimit, std::size_t> limits;

  std::unique_ptr<Stream> legacy;
  std::map<std::uint64_t, std::unique_ptr<Stream>> per_thread;  // by ThreadState::id
  std::vector<Stream*> streams;  // created ones, and those of `per_thread`
  /// Last operations of destroyed streams; legacy-ordered ones, and all.
  std::vector<OpRef> orphans;
  std::vector<OpRef> blocking_orphans;

  char green_handle = 0;  // its address is the CUgreenCtx

  CUcontext handle() { return reinterpret_cast<CUcontext>(this); }
  CUgreenCtx green() { return reinterpret_cast<CUgreenCtx>(&green_handle); }
  bool is_active() const { return kind != Kind::kPrimary || users > 0; }
};

/// Makes what every context has; the caller sets the rest.
void open_context(Runtime& rt, Context& context);
/// Destroys what belongs to the context. All its work must be done.
void close_context(Runtime& rt, Context& context);

/// The context of a handle; null is the current one. INVALID_CONTEXT, or CONTEXT_IS_DESTROYED.
Context& context_of(Runtime& rt, CUcontext handle);
Context& current_context(Runtime& rt);
Context& green_context_of(Runtime& rt, CUgreenCtx handle);
/// Operations to wait for until all streams of the context, and of its green contexts, are empty.
std::vector<OpRef> all_work(Runtime& rt, Context& context);
/// What the waits of a program wait for instead: all but what a stream hides (Stream::awaited).
std::vector<OpRef> awaited_work(Runtime& rt, Context& context);

/// The primary context, which this retains.
Context& retain_primary(Runtime& rt);
/// Waits and destroys when the last user goes.
void release_primary(Call& call);

}  // namespace fico::emulator
