// One operation on one virtual stream: where it goes, and what it has to come after.
#include <sched.h>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "cuda/driver.hpp"
#include "hook/captures.hpp"
#include "hook/hot.hpp"
#include "hook/places.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {
namespace {

const cuda::Driver& d() { return cuda::driver(); }

// The real stream where a virtual stream is.
CUstream real_of(const Stream& stream) {
  return stream.at.partition != nullptr ? stream.at.stream : stream.home;
}

bool ensure_event(Stream& stream) {
  if (stream.event != nullptr) return true;
  const cuda::Current current(stream.context.handle);
  return d().event_create(&stream.event, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS;
}

// Lets `to` wait for all that `from` holds now, with the event of `owner`. The event may be
// recorded anew at once: a wait takes the record that is current when it is issued
// (cuStreamWaitEvent).
bool chain(Stream& owner, CUstream from, CUstream to) {
  return ensure_event(owner) && d().event_record(owner.event, from) == CUDA_SUCCESS &&
         d().stream_wait(to, owner.event, 0) == CUDA_SUCCESS;
}

// Before a stream leaves its home: launches that look at no stream come before it, or see that it
// is away. False if one of them takes too long.
bool leave_home() {
  constexpr std::uint64_t kPatience_ns = 20'000'000;
  const std::uint64_t begin_ns = base::monotonic_ns();
  hot.away.fetch_add(1, std::memory_order_seq_cst);
  while (hot.home_launches.load(std::memory_order_seq_cst) != 0) {
    if (base::monotonic_ns() - begin_ns > kPatience_ns) {
      hot.away.fetch_sub(1, std::memory_order_relaxed);
      return false;
    }
    sched_yield();
  }
  return true;
}

// Moves a stream; its mutex is held. On failure it stays where it is, which is correct, and
// counted.
bool hop(Stream& stream, const Place& to) {
  if (stream.at.partition == to.partition &&
      (to.partition == nullptr || stream.at.stream == to.stream)) {
    return true;
  }
  const CUstream target = to.partition != nullptr ? to.stream : stream.home;
  const bool leaves = stream.at.partition == nullptr;
  if (leaves && !leave_home()) {
    Tenant::count(Counter::driver_errors, "a stream stayed at home: another thread's launch hangs");
    return false;
  }
  if (!chain(stream, real_of(stream), target)) {
    if (leaves) hot.away.fetch_sub(1, std::memory_order_relaxed);
    Tenant::count(Counter::driver_errors, "a stream could not be moved to another partition");
    return false;
  }
  stream.context.moved.store(true, std::memory_order_relaxed);
  stream.at = to;
  if (to.partition == nullptr) hot.away.fetch_sub(1, std::memory_order_release);
  Tenant::count(Counter::hops);
  return true;
}

// The order of the legacy default stream (CUDA programming guide, "Default Stream"): an operation
// on it comes after all that blocking streams of its context hold, and theirs after it. Between
// streams that are both at home the driver sees to it; everything else is done here. The caller
// holds the context's legacy_mutex, which is the mutex of all streams concerned.
bool order(Stream& stream) {
  Context& context = stream.context;
  Stream& legacy = *context.legacy;
  bool good = true;
  if (&stream != &legacy) {
    if (stream.legacy_seen != legacy.issued) {
      if (legacy.at.partition != nullptr) {
        good = chain(legacy, legacy.at.stream, real_of(stream));
      } else if (stream.at.partition != nullptr && legacy.event != nullptr) {
        // Recorded by mark_home_work() when the legacy stream last worked at home: recording on the
        // legacy stream here would break a capture on some other blocking stream.
        good = d().stream_wait(stream.at.stream, legacy.event, 0) == CUDA_SUCCESS;
      }
      stream.legacy_seen = legacy.issued;
    }
    ++stream.issued;
    return good;
  }
  bool home_is_behind = false;
  for (Stream* other : context.blocking) {
    if (other->issued == other->seen_by_legacy) continue;
    other->seen_by_legacy = other->issued;
    if (other->at.partition != nullptr) {
      good &= chain(*other, other->at.stream, real_of(legacy));
    } else {
      home_is_behind = true;
    }
  }
  // All blocking streams at home at once, those of other threads too: the driver lets a record on
  // the legacy stream wait for them.
  if (home_is_behind && legacy.at.partition != nullptr) {
    good &= chain(legacy, CU_STREAM_LEGACY, legacy.at.stream);
  }
  std::erase_if(context.blocking, [](Stream* other) {
    const bool gone = other->kind == StreamKind::kPerThread && other->ended.load() &&
                      other->issued == other->seen_by_legacy;
    if (gone) other->forget_place();
    return gone;
  });
  ++legacy.issued;
  return good;
}

// Whether operations on the stream are being recorded into a graph, or would be refused because of
// a capture: then the driver has to see them where the program put them.
bool is_recorded(const Stream& stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return d().stream_is_capturing(stream.home, &status) != CUDA_SUCCESS ||
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

}  // namespace

Issue::Issue(CUstream handle, bool per_thread, Work work, const Target* target) : real_(handle) {
  if (!Tenant::is_active()) return;
  Streams& streams = Streams::self();
  virtual_ = streams.find(handle, per_thread, open_);
  if (virtual_ == nullptr) return;
  lock_ = std::unique_lock(virtual_->mutex);
  if (Captures::are_under_way() && is_recorded(*virtual_)) {
    captured_ = true;
    virtual_ = nullptr;
    lock_.unlock();
    return;
  }
  choose_place(work, target);
  // Waiting for a blocking stream does not wait for the legacy stream, but the reverse does.
  if (work != Work::kWait || virtual_->kind == StreamKind::kLegacy) keep_order();
  if (virtual_->at.partition != nullptr) real_ = virtual_->at.stream;
}

void Issue::keep_order() {
  // Until the first stream leaves its home the driver keeps it.
  if (in_order_ || !virtual_->blocking || !virtual_->context.moved.load(std::memory_order_relaxed))
    return;
  in_order_ = true;
  if (!order(*virtual_)) {
    Tenant::count(Counter::driver_errors, "the order of the default stream could not be kept");
  }
}

void Issue::choose_place(Work work, const Target* target) {
  if (work == Work::kMark || work == Work::kWait) return;
  Stream& stream = *virtual_;
  const arena::Grant grant = Tenant::grant();
  if (work == Work::kHome || grant.mode == arena::Mode::kOpen) {
    hop(stream, {stream.home, nullptr});
    return;
  }
  if (grant.mode == arena::Mode::kScheduled) {
    if (target != nullptr) hop(stream, place_at(stream, *target));
    return;
  }
  cuda::Partition* partition = nullptr;
  if (grant.mode == arena::Mode::kConfined) {
    const Tenant::Range range = Tenant::self().own_range(grant);
    const cuda::Partition* at = stream.at.partition;
    if (at != nullptr && at->lo == range.lo && at->hi == range.hi &&
        stream.at.priority == stream.priority) {
      return;
    }
    partition = partition_of(stream, range.lo, range.hi);
  } else {
    partition = random_partition(stream);
  }
  if (partition == nullptr) return;  // counted; the stream stays where it is
  const Place place = place_on(stream, *partition, stream.priority);
  if (place.partition != nullptr) hop(stream, place);
}

void Issue::go(const Target& target) {
  if (virtual_ == nullptr) return;
  hop(*virtual_, place_at(*virtual_, target));
  keep_order();  // this may be the move with which it begins
  real_ = real_of(*virtual_);
}

void Issue::count_if_open() const {
  if (virtual_ != nullptr || captured_ || Tenant::grant().mode == arena::Mode::kOpen) return;
  const Context* context = open_ != nullptr ? open_ : Streams::self().current_context();
  if (context == nullptr) return;
  if (context->confinable) {
    Tenant::count(Counter::open_green);
  } else {
    Tenant::count(context->open_as, context->why_open);
  }
}

bool Issue::go_home() {
  if (virtual_ == nullptr || !hop(*virtual_, {virtual_->home, nullptr})) return false;
  real_ = virtual_->home;
  return true;
}

namespace {

// Blocking streams elsewhere will have to wait for what the legacy stream did at home: see order().
void mark_home_work(Stream& legacy) {
  if (legacy.context.moved.load(std::memory_order_relaxed) && !legacy.context.blocking.empty() &&
      ensure_event(legacy)) {
    d().event_record(legacy.event, CU_STREAM_LEGACY);
  }
}

}  // namespace

void Issue::finish_home() {
  if (virtual_ == nullptr) return;
  const std::lock_guard lock(virtual_->mutex);
  // Who looked at the counter before the call was made has not waited for it.
  ++virtual_->issued;
  if (virtual_->at.partition != nullptr) {
    chain(*virtual_, virtual_->home, virtual_->at.stream);
  } else if (virtual_->kind == StreamKind::kLegacy) {
    mark_home_work(*virtual_);
  }
}

void hand_to_legacy(Stream& stream) {
  if (!stream.blocking) return;
  Stream& legacy = *stream.context.legacy;
  // A stream of a thread that has gone can't be named at home; what it did there the driver orders.
  const bool nameable = stream.at.partition != nullptr || stream.kind == StreamKind::kCreated;
  if (!nameable || (stream.at.partition == nullptr && legacy.at.partition == nullptr)) return;
  chain(stream, real_of(stream), real_of(legacy));
}

Issue::~Issue() {
  if (lock_.owns_lock() && virtual_->kind == StreamKind::kLegacy &&
      virtual_->at.partition == nullptr) {
    mark_home_work(*virtual_);
  }
}

}  // namespace fico::hook
