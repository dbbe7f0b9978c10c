// Virtual streams: every stream of the program is mapped to one real stream at a time, its own
// (home) or one of a partition, and everything ordered in it follows the mapping.
//
// A move (hop) records an event where the stream was and lets the new place wait for it, so the
// work of a virtual stream is one chain wherever it runs. What hardware streams of a partition lose
// is the order between the legacy default stream and blocking streams (partition streams must be
// NON_BLOCKING): that is put back with events, see order().
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "arena/claims.hpp"
#include "arena/counters.hpp"
#include "cuda/partitions.hpp"

namespace fico::hook {

struct Context;

// A real stream that a virtual stream may be at.
struct Place {
  CUstream stream = nullptr;
  cuda::Partition* partition = nullptr;  // nullptr: at home
  int priority = 0;                      // of the stream
  bool ranked = false;  // a policy chose the priority: kernels of graphs get it as well
};

// Where a policy wants a launch: at home, or on units [lo, hi) at a priority.
struct Target {
  bool home = true;
  std::uint32_t lo = 0;
  std::uint32_t hi = 0;
  int priority = 0;
};

enum class StreamKind : std::uint8_t { kCreated, kLegacy, kPerThread };

struct Stream {
  Stream(Context& owner, CUstream handle, StreamKind stream_kind, bool is_blocking,
         int stream_priority);
  // It is nowhere else than at home any more: it ends, or its context has ended.
  void forget_place();

  Context& context;
  const CUstream home;  // the program's own stream: its handle, or the constant of a default stream
  const StreamKind kind;
  const bool blocking;  // takes part in the order of the legacy default stream (itself included)
  const int priority;
  std::mutex own_mutex;
  // Guards all below. Streams that the legacy stream orders share one, that of their context.
  std::mutex& mutex;

  Place at;
  std::vector<Place> places;      // its streams on partitions
  CUevent event = nullptr;        // for hops and ordering: recorded and waited for under the mutex
  std::uint64_t issued = 0;       // operations so far (kept for blocking streams only)
  std::uint64_t legacy_seen = 0;  // of the legacy stream: how much this one is ordered after
  std::uint64_t seen_by_legacy = 0;  // how much of this one the legacy stream is ordered after
  std::atomic<bool> ended{false};    // its thread has gone, or the program has destroyed it
};

// A CUDA context of the program.
struct Context {
  CUcontext handle = nullptr;
  CUdevice device = 0;
  bool confinable = false;  // the primary context of the session's GPU, its units split as agreed
  const char* why_open = nullptr;
  arena::Counter open_as = arena::Counter::open_contexts;  // what its launches count as, if not
  std::atomic<bool> moved{false};  // some stream has left its home: from then on order() is needed
  std::mutex legacy_mutex;
  std::unique_ptr<Stream> legacy;
  std::vector<Stream*>
      blocking;             // created and per-thread blocking streams; guarded by legacy_mutex
  std::mutex making_mutex;  // held while a partition is made for the pool, or the pool ends
  std::mutex pool_mutex;    // taken after a stream's mutex, and after making_mutex
  cuda::PartitionPool pool;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ordered;  // partitions that are being made
  cuda::Partition whole{};  // all units, for streams at a policy's priority
};

// What an operation asks of the place where it runs.
enum class Work : std::uint8_t {
  kWait,    // the caller waits for the stream or asks about it: nothing is put in it
  kMark,    // uses no SMs: stays where the stream is
  kLaunch,  // may use SMs: goes where the grant says
  kHome,    // must run on the program's own stream
};

// One operation on one stream, from choosing the place to having been issued. Holds the stream's
// lock, so that place and operation are one step for every other thread.
class Issue {
 public:
  // `target`: where a launch goes in a session that is scheduled; without one it stays where the
  // stream is.
  Issue(CUstream handle, bool per_thread, Work work, const Target* target = nullptr);
  ~Issue();
  Issue(const Issue&) = delete;
  Issue& operator=(const Issue&) = delete;

  // Where to issue it.
  CUstream stream() const { return real_; }
  bool is_on_partition() const { return virtual_ != nullptr && virtual_->at.partition != nullptr; }
  bool is_captured() const { return captured_; }
  // For launches: counts one that passes through, unconfined, because its stream is not ours.
  void count_if_open() const;
  // Where the stream is; `partition` is nullptr at home.
  Place place() const { return virtual_ == nullptr ? Place{} : virtual_->at; }
  // The context of the stream, or nullptr for a stream that is not known.
  CUcontext context() const { return virtual_ == nullptr ? nullptr : virtual_->context.handle; }
  // Moves the stream, between two pieces of one operation. On failure, which is counted, it stays.
  void go(const Target& target);
  // Moves the stream home, for a launch that its partition can't take. False if that failed.
  bool go_home();
  // Gives the lock back early, for calls that wait. finish_home() must follow one made at home.
  void unlock() {
    if (lock_.owns_lock()) lock_.unlock();
  }
  // After a call that was made on a default stream at home without the lock: what is issued from
  // now on is ordered behind it.
  void finish_home();

 private:
  void choose_place(Work work, const Target* target);
  // Puts it in the order of the legacy default stream, once.
  void keep_order();

  CUstream real_;
  Stream* virtual_ = nullptr;
  const Context* open_ = nullptr;
  bool captured_ = false;
  bool in_order_ = false;
  std::unique_lock<std::mutex> lock_;
};

// Before a blocking stream ends: the legacy stream will not ask it any more, so it waits for its
// work now, unless both are at home. The caller holds the stream's mutex.
void hand_to_legacy(Stream& stream);

// All virtual streams and contexts of the process. Never destroyed.
class Streams {
 public:
  static Streams& self();

  // The virtual stream of a handle, or nullptr for one that is not known (then the call passes
  // through). Default streams are those of the current context.
  // `open` is set if it is a default stream of a context that can't be confined.
  Stream* find(CUstream handle, bool per_thread, const Context*& open);
  // The context that is current to the thread, entered if it is new; nullptr if there is none.
  Context* current_context();

  void created(CUstream handle);
  // Before the real stream is destroyed: its work is gathered at home and its places are given up.
  void destroying(CUstream handle);
  // A context has ended or is about to: its streams are forgotten. With `destroy` the partitions
  // are ended in the driver too.
  void forget_context(CUcontext handle, bool destroy);
  Context* find_context(CUcontext handle);

  // Whether no stream has unfinished work on partitions that touch these units.
  bool is_idle_on(arena::UnitSet units);

  // The program's references to the primary context of a device.
  void primary_retained(CUdevice device, CUcontext context);
  void primary_releasing(CUdevice device);
  void primary_resetting(CUdevice device);

 private:
  static constexpr std::size_t kTableSize = 8192;
  static constexpr std::size_t kGraveyard = 1024;
  Stream* per_thread(Context& context);
  // Ends the per-thread streams of threads that have gone.
  void reap(Context& context);
  Context* enter_context(CUcontext handle);
  void enter(Stream* stream);
  void remove(Stream* stream);

  std::atomic<Stream*> table_[kTableSize] = {};  // by handle; a slot is never emptied, only reused
  std::mutex registry_mutex_;                    // taken after a stream's and a pool's mutex
  std::vector<Stream*> all_;
  std::vector<Stream*>
      graveyard_;  // destroyed ones: a racing look-up may still read them for a while
  std::unordered_map<CUcontext, Context*> contexts_;
  struct Primary {
    CUcontext context = nullptr;
    int references = 0;
  };
  std::unordered_map<CUdevice, Primary> primaries_;  // guarded by registry_mutex_
};

}  // namespace fico::hook
