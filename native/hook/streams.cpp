#include "hook/streams.hpp"

#include <strings.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "base/log.hpp"
#include "cuda/driver.hpp"
#include "hook/builder.hpp"
#include "hook/graphs.hpp"
#include "hook/pacer.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {
namespace {

std::size_t hash_of(CUstream handle) {
  // Handles are addresses of objects of some hundred bytes: their low bits are alike.
  return static_cast<std::size_t>(
      (reinterpret_cast<std::uintptr_t>(handle) >> 4U) * 0x9e37'79b9'7f4a'7c15U >> 40U);
}

using cuda::Current;

// Whether a device is the one that the session shares, by its UUID as NVML writes it.
bool is_session_gpu(const CUuuid& uuid, const arena::Layout& session) {
  char text[48] = "GPU-";
  std::size_t length = 4;
  for (std::size_t byte = 0; byte < sizeof uuid.bytes; ++byte) {
    if (byte == 4 || byte == 6 || byte == 8 || byte == 10) text[length++] = '-';
    std::snprintf(text + length, 3, "%02x", static_cast<unsigned char>(uuid.bytes[byte]));
    length += 2;
  }
  return strcasecmp(text, session.gpu_uuid) == 0;
}

// A number in [0, bound) from a generator of the thread's own (Marsaglia, "Xorshift RNGs", 2003).
std::uint32_t random_below(std::uint32_t bound) {
  thread_local std::uint64_t state = [] {
    const char* seed = std::getenv("FICO_SHUFFLE_SEED");
    const std::uint64_t start =
        seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device{}();
    return start * 2 + 1;  // never 0
  }();
  state ^= state << 13U;
  state ^= state >> 7U;
  state ^= state << 17U;
  return static_cast<std::uint32_t>((state >> 32U) * bound >> 32U);
}

// The per-thread default streams of a thread, one a context; they end with it.
struct ThreadStreams {
  std::vector<Stream*> streams;
  ~ThreadStreams() {
    for (Stream* stream : streams) stream->ended.store(true);
    thread_has_ended = true;
  }
  // For calls from the destructors of other thread-local objects, which may come after ours.
  static thread_local bool thread_has_ended;
};
thread_local bool ThreadStreams::thread_has_ended = false;

}  // namespace

Stream::Stream(Context& owner, CUstream handle, StreamKind stream_kind, bool is_blocking,
               int stream_priority)
    : context(owner),
      home(handle),
      kind(stream_kind),
      blocking(is_blocking),
      priority(stream_priority),
      mutex(is_blocking ? owner.legacy_mutex : own_mutex) {}

Streams& Streams::self() {
  static auto* streams = new Streams;
  return *streams;
}

Stream* Streams::find(CUstream handle, bool per_thread_variant, const Context*& open) {
  if (handle == nullptr) handle = per_thread_variant ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
  if (handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
    Context* context = current_context();
    if (context == nullptr) return nullptr;
    if (!context->confinable) {
      open = context;
      return nullptr;
    }
    return handle == CU_STREAM_LEGACY ? context->legacy.get() : per_thread(*context);
  }
  std::size_t slot = hash_of(handle);
  for (std::size_t probes = 0; probes < kTableSize; ++probes, ++slot) {
    Stream* stream = table_[slot % kTableSize].load(std::memory_order_acquire);
    if (stream == nullptr) return nullptr;
    if (stream->home == handle && !stream->ended.load(std::memory_order_relaxed)) return stream;
  }
  return nullptr;
}

Stream* Streams::per_thread(Context& context) {
  if (ThreadStreams::thread_has_ended) return nullptr;
  thread_local ThreadStreams mine;
  for (Stream* stream : mine.streams) {
    if (&stream->context == &context) return stream;
  }
  auto* stream = new Stream(context, CU_STREAM_PER_THREAD, StreamKind::kPerThread, true, 0);
  mine.streams.push_back(stream);
  reap(context);
  {
    const std::lock_guard lock(context.legacy_mutex);
    context.blocking.push_back(stream);
  }
  const std::lock_guard lock(registry_mutex_);
  all_.push_back(stream);
  return stream;
}

void Streams::give_up_places(Stream& stream) {
  const Current current(stream.context.handle);
  const cuda::RelaxedCapture relaxed;
  const std::lock_guard pool_lock(stream.context.pool_mutex);
  for (const Place& place : stream.places) {
    if (cuda::driver().stream_query(place.stream) == CUDA_SUCCESS) {
      place.partition->spares.push_back({place.stream, place.priority});
    } else {
      // Legal while it is busy: the driver lets its work end (cuStreamDestroy).
      cuda::driver().stream_destroy(place.stream);
    }
  }
  stream.places.clear();
  if (stream.event != nullptr) cuda::driver().event_destroy(stream.event);
  stream.event = nullptr;
}

void Streams::reap(Context& context) {
  if (captures.load() > 0) return;  // ordering the legacy stream could break a capture
  std::vector<Stream*> ended;
  {
    const std::lock_guard lock(context.legacy_mutex);
    std::erase_if(context.blocking, [&](Stream* stream) {
      if (stream->kind != StreamKind::kPerThread || !stream->ended.load()) return false;
      hand_to_legacy(*stream);
      give_up_places(*stream);
      ended.push_back(stream);
      return true;
    });
  }
  const std::lock_guard lock(registry_mutex_);
  for (Stream* stream : ended) {
    std::erase(all_, stream);
    delete stream;
  }
}

Context* Streams::current_context() {
  thread_local CUcontext last_handle = nullptr;
  thread_local Context* last = nullptr;
  CUcontext handle = nullptr;
  if (cuda::driver().ctx_get_current(&handle) != CUDA_SUCCESS || handle == nullptr) return nullptr;
  if (handle == last_handle && last->handle == handle) return last;
  Context* context = find_context(handle);
  if (context == nullptr) context = enter_context(handle);
  last_handle = handle;
  last = context;
  return context;
}

Context* Streams::find_context(CUcontext handle) {
  const std::lock_guard lock(registry_mutex_);
  const auto found = contexts_.find(handle);
  return found == contexts_.end() ? nullptr : found->second;
}

Context* Streams::enter_context(CUcontext handle) {
  const cuda::Driver& d = cuda::driver();
  const cuda::RelaxedCapture relaxed;
  auto context = std::make_unique<Context>();
  context->handle = handle;
  context->whole.context = handle;
  context->legacy =
      std::make_unique<Stream>(*context, CU_STREAM_LEGACY, StreamKind::kLegacy, true, 0);
  Tenant& tenant = Tenant::self();

  // Only the primary context can be confined: green contexts belong to it and see its memory alone.
  CUuuid uuid{};
  unsigned int flags = 0;
  int active = 0;
  CUcontext primary = nullptr;
  if (d.device_get_uuid == nullptr || d.primary_state == nullptr ||
      d.ctx_get_device(&context->device) != CUDA_SUCCESS ||
      d.primary_state(context->device, &flags, &active) != CUDA_SUCCESS) {
    context->why_open = "the driver does not tell a context's device";
  } else if (d.device_get_uuid(&uuid, context->device) != CUDA_SUCCESS ||
             !is_session_gpu(uuid, tenant.session())) {
    context->why_open = "a GPU that is not the session's";
    context->open_as = Counter::open_devices;
  } else if (active != 0 && d.primary_retain(&primary, context->device) == CUDA_SUCCESS) {
    d.primary_release(context->device);
  }
  if (context->why_open == nullptr && primary != handle) {
    context->why_open = "a context that is not the primary one";
  }
  if (context->why_open == nullptr) {
    context->confinable = context->pool.open(context->device, tenant.session().sms_per_unit,
                                             tenant.session().unit_count);
    context->whole.hi = tenant.session().unit_count;
    if (!context->confinable) {
      context->why_open = "a driver without green contexts, or that splits the GPU otherwise";
      base::log_line("launches can't be confined: %s; see 'fico doctor'", context->why_open);
    }
  }
  if (context->confinable) tenant.start_keeper();
  const std::lock_guard lock(registry_mutex_);
  Context*& entry = contexts_[handle];
  if (entry == nullptr) {
    entry = context.release();
    if (entry->confinable) all_.push_back(entry->legacy.get());
  }
  return entry;
}

void Streams::enter(Stream* stream) {
  const std::lock_guard lock(registry_mutex_);
  std::size_t slot = hash_of(stream->home);
  for (std::size_t probes = 0; probes < kTableSize; ++probes, ++slot) {
    Stream* present = table_[slot % kTableSize].load(std::memory_order_relaxed);
    if (present != nullptr && !present->ended.load()) continue;
    table_[slot % kTableSize].store(stream, std::memory_order_release);
    all_.push_back(stream);
    return;
  }
  stream->ended.store(
      true);  // 8192 live streams: this one passes through, and its launches are counted
}

void Streams::remove(Stream* stream) {
  const std::lock_guard lock(registry_mutex_);
  stream->ended.store(true);
  std::erase(all_, stream);
  graveyard_.push_back(stream);
  if (graveyard_.size() <= kGraveyard) return;
  Stream* oldest = graveyard_.front();
  graveyard_.erase(graveyard_.begin());
  // Its slot in the table may be passed by a look-up for another handle: put a newer dead one
  // there.
  for (auto& slot : table_) {
    if (slot.load(std::memory_order_relaxed) == oldest)
      slot.store(stream, std::memory_order_release);
  }
  delete oldest;
}

void Streams::created(CUstream handle) {
  Context* context = current_context();
  if (context == nullptr || !context->confinable) return;
  unsigned int flags = CU_STREAM_NON_BLOCKING;
  int priority = 0;
  cuda::driver().stream_flags(handle, &flags);
  cuda::driver().stream_priority(handle, &priority);
  const bool blocking = (flags & CU_STREAM_NON_BLOCKING) == 0;
  auto* stream = new Stream(*context, handle, StreamKind::kCreated, blocking, priority);
  if (blocking) {
    const std::lock_guard lock(context->legacy_mutex);
    context->blocking.push_back(stream);
  }
  enter(stream);
}

void Streams::destroying(CUstream handle) {
  const Context* open = nullptr;
  if (handle == nullptr || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) return;
  Stream* stream = find(handle, false, open);
  if (stream == nullptr) return;
  if (captures.load() > 0 && is_capturing(handle, false)) {
    capture_ended();
  } else {
    const Issue gathered(handle, false, Work::kHome);
    hand_to_legacy(*stream);
  }
  {
    const std::lock_guard lock(stream->mutex);
    if (stream->blocking) std::erase(stream->context.blocking, stream);
    give_up_places(*stream);
  }
  remove(stream);
}

// In a forked child locks may be held by threads that are not there: nothing is kept account of.
void Streams::forget_context(CUcontext handle, bool destroy) {
  if (!Tenant::self().is_active()) return;
  Context* context = find_context(handle);
  if (context == nullptr || !context->confinable) {
    const std::lock_guard lock(registry_mutex_);
    contexts_.erase(handle);  // the object stays: threads may hold it as their last
    if (context != nullptr) context->handle = nullptr;
    return;
  }
  Pacer::self().forget();
  Graphs::self().forget();
  std::vector<Stream*> streams;
  {
    const std::lock_guard lock(registry_mutex_);
    std::ranges::copy_if(all_, std::back_inserter(streams),
                         [&](const Stream* stream) { return &stream->context == context; });
  }
  for (Stream* stream : streams) {
    {
      const std::lock_guard lock(stream->mutex);
      if (destroy) {
        const Current current(handle);
        for (const Place& place : stream->places) cuda::driver().stream_destroy(place.stream);
        if (stream->event != nullptr) cuda::driver().event_destroy(stream->event);
      }
      stream->places.clear();
      stream->event = nullptr;
      stream->at = {stream->home, nullptr};
    }
    if (stream->kind == StreamKind::kCreated) remove(stream);
  }
  {
    const std::lock_guard lock(context->legacy_mutex);
    std::erase_if(context->blocking,
                  [](const Stream* s) { return s->kind == StreamKind::kCreated; });
  }
  {
    const std::lock_guard making(context->making_mutex);
    const std::lock_guard lock(context->pool_mutex);
    context->ordered.clear();
    context->pool.clear(destroy);
    for (const cuda::Partition::Spare& spare : context->whole.spares) {
      if (destroy) cuda::driver().stream_destroy(spare.stream);
    }
    context->whole.spares.clear();
  }
  const std::lock_guard lock(registry_mutex_);
  contexts_.erase(handle);
  std::erase_if(all_, [&](const Stream* stream) { return &stream->context == context; });
  context->handle = nullptr;
}

Place Streams::place_on(Stream& stream, cuda::Partition& partition, int priority) {
  for (const Place& place : stream.places) {
    if (place.partition == &partition && place.priority == priority) return place;
  }
  const std::lock_guard lock(stream.context.pool_mutex);
  const auto spare =
      std::ranges::find(partition.spares, priority, &cuda::Partition::Spare::priority);
  if (spare != partition.spares.end()) {
    stream.places.push_back({spare->stream, &partition, priority});
    partition.spares.erase(spare);
    return stream.places.back();
  }
  const cuda::RelaxedCapture relaxed;
  const cuda::Driver& d = cuda::driver();
  CUstream real = nullptr;
  CUresult made = CUDA_ERROR_NOT_SUPPORTED;
  if (partition.green != nullptr) {
    made = d.green_stream(&real, partition.green, CU_STREAM_NON_BLOCKING, priority);
  } else if (d.stream_create != nullptr) {
    const Current current(stream.context.handle);
    made = d.stream_create(&real, CU_STREAM_NON_BLOCKING, priority);
  }
  if (made != CUDA_SUCCESS) {
    Tenant::self().count(Counter::driver_errors, "a stream on a partition could not be made");
    return {};
  }
  stream.places.push_back({real, &partition, priority});
  return stream.places.back();
}

Place Streams::place_at(Stream& stream, const Target& target) {
  if (target.home) return {stream.home};
  cuda::Partition* at = &stream.context.whole;
  if (target.lo != at->lo || target.hi != at->hi) {
    const std::lock_guard lock(stream.context.pool_mutex);
    const cuda::PartitionPool& pool = stream.context.pool;
    at = pool.find(target.lo, target.hi);
    if (at == nullptr && pool.is_full()) {
      at = pool.nearest(target.lo, target.hi);
      if (at != nullptr) Tenant::self().count(Counter::near_partitions);
    }
    if (at == nullptr && GraphCopies::builds_at_launch()) {
      at = make_partition(stream.context, target.lo, target.hi);
    } else if (at == nullptr) {
      make_partition_soon(stream.context, target.lo, target.hi);
      Tenant::self().count(Counter::unbuilt_pieces);
    }
  }
  if (at == nullptr) return {stream.home};  // counted
  Place place = place_on(stream, *at, target.priority);
  if (place.partition == nullptr) return {stream.home};
  place.ranked = true;
  return place;
}

cuda::Partition* Streams::make_partition(Context& context, std::uint32_t lo, std::uint32_t hi) {
  cuda::PartitionPool& pool = context.pool;
  Tenant& tenant = Tenant::self();
  if (pool.is_full()) tenant.count(Counter::extra_partitions);
  cuda::Partition* made = pool.make(lo, hi);
  if (made != nullptr) {
    tenant.count(Counter::partitions_created);
  } else {
    tenant.count(Counter::driver_errors, "a partition could not be made: out of GPU memory?");
  }
  return made;
}

void Streams::make_partition_soon(Context& context, std::uint32_t lo, std::uint32_t hi) {
  const std::pair wanted{lo, hi};
  if (std::ranges::find(context.ordered, wanted) != context.ordered.end()) return;
  context.ordered.push_back(wanted);
  Builder::self().order([&context, wanted] {
    const std::lock_guard making(context.making_mutex);
    if (!context.pool.is_open() || !Tenant::self().is_active()) return;
    auto made = context.pool.create(wanted.first, wanted.second);
    const std::lock_guard lock(context.pool_mutex);
    std::erase(context.ordered, wanted);
    if (made != nullptr) {
      context.pool.add(std::move(made));
      Tenant::self().count(Counter::partitions_created);
    } else {
      Tenant::self().count(Counter::driver_errors,
                           "a partition could not be made: out of GPU memory?");
    }
  });
}

cuda::Partition* Streams::partition(Stream& stream, std::uint32_t lo, std::uint32_t hi) {
  const std::lock_guard lock(stream.context.pool_mutex);
  cuda::Partition* found = stream.context.pool.find(lo, hi);
  return found != nullptr ? found : make_partition(stream.context, lo, hi);
}

cuda::Partition* Streams::random_partition(Stream& stream) {
  const std::lock_guard lock(stream.context.pool_mutex);
  const cuda::PartitionPool& pool = stream.context.pool;
  if (!pool.is_full()) {
    const std::uint32_t units = Tenant::self().session().unit_count;
    const std::uint32_t lo = random_below(units);
    const std::uint32_t hi = lo + 1 + random_below(units - lo);
    cuda::Partition* found = pool.find(lo, hi);
    return found != nullptr ? found : make_partition(stream.context, lo, hi);
  }
  return pool.partitions()[random_below(static_cast<std::uint32_t>(pool.partitions().size()))]
      .get();
}

bool Streams::is_idle_on(arena::UnitSet units) {
  const std::lock_guard lock(registry_mutex_);
  const cuda::RelaxedCapture relaxed;
  return std::ranges::all_of(all_, [&](Stream* stream) {
    const std::unique_lock stream_lock(stream->mutex, std::try_to_lock);
    if (!stream_lock.owns_lock()) return false;
    return std::ranges::all_of(stream->places, [&](const Place& place) {
      if ((arena::units_between(place.partition->lo, place.partition->hi) & units) == 0)
        return true;
      const Current current(stream->context.handle);
      return cuda::driver().stream_query(place.stream) == CUDA_SUCCESS;
    });
  });
}

void Streams::primary_retained(CUdevice device, CUcontext context) {
  if (!Tenant::self().is_active()) return;
  const std::lock_guard lock(registry_mutex_);
  Primary& primary = primaries_[device];
  primary.context = context;
  ++primary.references;
}

void Streams::primary_releasing(CUdevice device) {
  if (!Tenant::self().is_active()) return;
  CUcontext last = nullptr;
  {
    const std::lock_guard lock(registry_mutex_);
    Primary& primary = primaries_[device];
    if (primary.references == 1) last = primary.context;
    if (primary.references > 0) --primary.references;
  }
  if (last != nullptr) forget_context(last, true);
}

void Streams::primary_resetting(CUdevice device) {
  if (!Tenant::self().is_active()) return;
  CUcontext context = nullptr;
  {
    const std::lock_guard lock(registry_mutex_);
    context = primaries_[device].context;
  }
  if (context != nullptr) forget_context(context, true);
}

bool Streams::is_capturing(CUstream handle, bool per_thread_variant) {
  if (handle == nullptr) handle = per_thread_variant ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return cuda::driver().stream_is_capturing(handle, &status) == CUDA_SUCCESS &&
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

void Streams::capture_ended() {
  const std::lock_guard lock(captured_mutex_);
  if (captures.fetch_sub(1) == 1) captured_events_.clear();
}

void Streams::note_captured_event(CUevent event, bool captured) {
  const std::lock_guard lock(captured_mutex_);
  const auto found = std::ranges::find(captured_events_, event);
  if (captured && found == captured_events_.end()) {
    captured_events_.push_back(event);
  } else if (!captured && found != captured_events_.end()) {
    captured_events_.erase(found);
  }
}

bool Streams::is_captured_event(CUevent event) {
  const std::lock_guard lock(captured_mutex_);
  return std::ranges::find(captured_events_, event) != captured_events_.end();
}

}  // namespace fico::hook
