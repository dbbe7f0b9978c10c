#include "emulator/capture.hpp"

#include <algorithm>

#include "emulator/context.hpp"
#include "emulator/event.hpp"
#include "emulator/graph.hpp"
#include "emulator/stream.hpp"

namespace fico::emulator {

// Which captures a call endangers depends on three modes: that of the calling thread, that of each
// capture, and whether this thread began it.
void check_unsafe_call(Runtime& rt) {
  if (rt.captures.empty()) return;
  const auto& thread = this_thread();
  if (thread.capture_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return;
  bool refused = false;
  for (const auto& capture : rt.captures) {
    const bool own = capture->thread == thread.id;
    const bool endangered = own ? capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED
                                : capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                                      thread.capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!endangered) continue;
    capture->is_valid = false;
    refused = true;
  }
  require(!refused, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

void check_legacy_use(Runtime& rt, Context& context) {
  bool refused = false;
  for (const auto& capture : rt.captures) {
    for (auto* stream : capture->streams) {
      if (stream->context != &context || !stream->is_blocking()) continue;
      capture->is_valid = false;
      refused = true;
    }
  }
  require(!refused, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
}

void check_context_wide(Runtime& rt, Context& context) {
  bool refused = false;
  for (const auto& capture : rt.captures) {
    for (auto* stream : capture->streams) {
      const bool inside = stream->context == &context ||
                          (stream->context->root == &context && context.root == &context);
      if (!inside) continue;
      capture->is_valid = false;
      refused = true;
    }
  }
  require(!refused, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

}  // namespace fico::emulator
