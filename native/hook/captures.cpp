#include "hook/captures.hpp"

#include <algorithm>

#include "cuda/driver.hpp"

namespace fico::hook {

Captures& Captures::self() {
  static auto* captures = new Captures;
  return *captures;
}

bool Captures::is_capturing(CUstream handle, bool per_thread_variant) {
  if (handle == nullptr) handle = per_thread_variant ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return cuda::driver().stream_is_capturing(handle, &status) == CUDA_SUCCESS &&
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

void Captures::ended() {
  const std::lock_guard lock(mutex_);
  if (hot.captures.fetch_sub(1) == 1) events_.clear();
}

void Captures::note_event(CUevent event, bool captured) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(events_, event);
  if (captured && found == events_.end()) {
    events_.push_back(event);
  } else if (!captured && found != events_.end()) {
    events_.erase(found);
  }
}

bool Captures::has_event(CUevent event) {
  const std::lock_guard lock(mutex_);
  return std::ranges::find(events_, event) != events_.end();
}

}  // namespace fico::hook
