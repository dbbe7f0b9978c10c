// The entry points of the emulated CUPTI.
#include <cupti.h>
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <new>
#include <system_error>

#include "emulator/cupti/collection.hpp"
#include "emulator/cupti/records.hpp"

using namespace fico::emulator::cupti;
using fico::emulator::kTraceSymbol;
using fico::emulator::TraceAccess;

namespace {

// A child has no device, and no thread that would deliver.
std::atomic<bool> is_forked{false};

// The emulated driver of this process; nullptr where the driver is another one, or none.
const TraceAccess* driver() {
  static const TraceAccess* const found = []() -> const TraceAccess* {
    pthread_atfork(nullptr, nullptr, [] { is_forked = true; });
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) return nullptr;
    const auto access = reinterpret_cast<const TraceAccess* (*)()>(dlsym(library, kTraceSymbol));
    const bool fits = access && access()->version == TraceAccess::kVersion;
    return fits ? access() : nullptr;
  }();
  return is_forked ? nullptr : found;
}

// Runs the body of an entry point with the driver.
template <class Body>
CUptiResult with_driver(Body body) noexcept {
  try {
    const auto* access = driver();
    return access ? body(*access) : CUPTI_ERROR_NOT_INITIALIZED;
  } catch (const std::bad_alloc&) {
    return CUPTI_ERROR_OUT_OF_MEMORY;
  } catch (...) {
    return CUPTI_ERROR_UNKNOWN;
  }
}

CUptiResult set_enabled(CUpti_ActivityKind kind, bool enabled) {
  const auto known = trace_kind(kind);
  if (!known) return CUPTI_ERROR_INVALID_KIND;
  return with_driver([&](const TraceAccess& access) {
    collection().set_enabled(access, *known, enabled);
    return CUPTI_SUCCESS;
  });
}

// Bytes of an attribute's value; 0 for one that CUPTI 13.0 does not have.
std::size_t attribute_bytes(CUpti_ActivityAttribute attribute) {
  switch (attribute) {
    case CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE:
    case CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE_CDP:
    case CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_POOL_LIMIT:
    case CUPTI_ACTIVITY_ATTR_PROFILING_SEMAPHORE_POOL_SIZE:
    case CUPTI_ACTIVITY_ATTR_PROFILING_SEMAPHORE_POOL_LIMIT:
    case CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_PRE_ALLOCATE_VALUE:
    case CUPTI_ACTIVITY_ATTR_PROFILING_SEMAPHORE_PRE_ALLOCATE_VALUE:
    case CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE_DEVICE_GRAPHS:
      return sizeof(std::size_t);
    case CUPTI_ACTIVITY_ATTR_ZEROED_OUT_ACTIVITY_BUFFER:
    case CUPTI_ACTIVITY_ATTR_MEM_ALLOCATION_TYPE_HOST_PINNED:
    case CUPTI_ACTIVITY_ATTR_PER_THREAD_ACTIVITY_BUFFER:
      return sizeof(std::uint8_t);
    default:
      return 0;
  }
}

// Those that this library gives.
const char* name_of(CUptiResult result) {
  switch (result) {
#define FICO_NAME(name) \
  case name:            \
    return #name;
    FICO_NAME(CUPTI_SUCCESS)
    FICO_NAME(CUPTI_ERROR_INVALID_PARAMETER)
    FICO_NAME(CUPTI_ERROR_INVALID_OPERATION)
    FICO_NAME(CUPTI_ERROR_OUT_OF_MEMORY)
    FICO_NAME(CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT)
    FICO_NAME(CUPTI_ERROR_MAX_LIMIT_REACHED)
    FICO_NAME(CUPTI_ERROR_NOT_INITIALIZED)
    FICO_NAME(CUPTI_ERROR_INVALID_KIND)
    FICO_NAME(CUPTI_ERROR_UNKNOWN)
#undef FICO_NAME
    default:
      return nullptr;
  }
}

}  // namespace

CUptiResult cuptiGetVersion(uint32_t* version) {
  if (!version) return CUPTI_ERROR_INVALID_PARAMETER;
  *version = CUPTI_API_VERSION;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiGetResultString(CUptiResult result, const char** text) {
  const char* name = name_of(result);
  if (!text || !name) return CUPTI_ERROR_INVALID_PARAMETER;
  *text = name;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiGetTimestamp(uint64_t* timestamp) {
  if (!timestamp) return CUPTI_ERROR_INVALID_PARAMETER;
  return with_driver([&](const TraceAccess& access) {
    *timestamp = access.now_ns();
    return *timestamp ? CUPTI_SUCCESS : CUPTI_ERROR_NOT_INITIALIZED;
  });
}

CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                                           CUpti_BuffersCallbackCompleteFunc complete) {
  if (!request || !complete) return CUPTI_ERROR_INVALID_PARAMETER;
  return with_driver([&](const TraceAccess&) {
    collection().register_callbacks(request, complete);
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind) { return set_enabled(kind, true); }
CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind) { return set_enabled(kind, false); }

// All records are complete here, so a forced flush does not differ.
CUptiResult cuptiActivityFlushAll(uint32_t) {
  return with_driver([](const TraceAccess&) {
    if (!collection().has_callbacks()) return CUPTI_ERROR_INVALID_OPERATION;
    collection().flush();
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiActivityFlushPeriod(uint32_t period_ms) {
  return with_driver([&](const TraceAccess&) {
    collection().set_period_ms(period_ms);
    return CUPTI_SUCCESS;
  });
}

CUptiResult cuptiActivityGetNextRecord(uint8_t* buffer, size_t valid_bytes,
                                       CUpti_Activity** record) {
  if (!buffer || !record) return CUPTI_ERROR_INVALID_PARAMETER;
  auto* at = buffer;
  if (*record) {
    const auto bytes = record_bytes((*record)->kind);
    if (!bytes) return CUPTI_ERROR_INVALID_KIND;
    at = reinterpret_cast<uint8_t*>(*record) + bytes;
  }
  const auto* end = buffer + valid_bytes;
  if (at >= end) return CUPTI_ERROR_MAX_LIMIT_REACHED;
  const auto left = static_cast<size_t>(end - at);
  auto* next = reinterpret_cast<CUpti_Activity*>(at);
  if (left < sizeof *next || !record_bytes(next->kind) || left < record_bytes(next->kind)) {
    return CUPTI_ERROR_INVALID_KIND;
  }
  *record = next;
  return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext, uint32_t, size_t* dropped) {
  if (!dropped) return CUPTI_ERROR_INVALID_PARAMETER;
  return with_driver([&](const TraceAccess&) {
    *dropped = collection().take_dropped();
    return CUPTI_SUCCESS;
  });
}

// Nothing is recorded and nobody called back until there are callbacks again.
CUptiResult cuptiFinalize() {
  return with_driver([](const TraceAccess& access) {
    collection().reset(access);
    return CUPTI_SUCCESS;
  });
}

// They tune what is not emulated, so only their form is checked.
CUptiResult cuptiActivitySetAttribute(CUpti_ActivityAttribute attribute, size_t* value_bytes,
                                      void* value) {
  const auto bytes = attribute_bytes(attribute);
  if (!value_bytes || !value || !bytes) return CUPTI_ERROR_INVALID_PARAMETER;
  return *value_bytes < bytes ? CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT : CUPTI_SUCCESS;
}
