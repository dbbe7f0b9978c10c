#include "hook/streams.hpp"

#include <strings.h>

#include <algorithm>
#include <cstdio>

#include "base/log.hpp"
#include "cuda/driver.hpp"
#include "hook/captures.hpp"
#include "hook/graphs.hpp"
#include "hook/hot.hpp"
#include "hook/pacer.hpp"
#include "hook/places.hpp"
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

void Stream::forget_place() {
  if (at.partition != nullptr) hot.away.fetch_sub(1, std::memory_order_release);
  at = {home, nullptr};
}

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

void Streams::reap(Context& context) {
  if (Captures::are_under_way()) return;  // ordering the legacy stream could break a capture
  std::vector<Stream*> ended;
  {
    const std::lock_guard lock(context.legacy_mutex);
    std::erase_if(context.blocking, [&](Stream* stream) {
      if (stream->kind != StreamKind::kPerThread || !stream->ended.load()) return false;
      hand_to_legacy(*stream);
      give_up_places(*stream);
      stream->forget_place();
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
  hot.has_context.store(true, std::memory_order_relaxed);
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
  if (Captures::are_under_way() && Captures::is_capturing(handle, false)) {
    Captures::self().ended();
  } else {
    const Issue gathered(handle, false, Work::kHome);
    hand_to_legacy(*stream);
  }
  {
    const std::lock_guard lock(stream->mutex);
    if (stream->blocking) std::erase(stream->context.blocking, stream);
    give_up_places(*stream);
    stream->forget_place();
  }
  remove(stream);
}

// In a forked child locks may be held by threads that are not there: nothing is kept account of.
void Streams::forget_context(CUcontext handle, bool destroy) {
  if (!Tenant::is_active()) return;
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
      stream->forget_place();
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
  if (!Tenant::is_active()) return;
  const std::lock_guard lock(registry_mutex_);
  Primary& primary = primaries_[device];
  primary.context = context;
  ++primary.references;
}

void Streams::primary_releasing(CUdevice device) {
  if (!Tenant::is_active()) return;
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
  if (!Tenant::is_active()) return;
  CUcontext context = nullptr;
  {
    const std::lock_guard lock(registry_mutex_);
    context = primaries_[device].context;
  }
  if (context != nullptr) forget_context(context, true);
}

}  // namespace fico::hook
