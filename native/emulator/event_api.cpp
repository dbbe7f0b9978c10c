// Events: the entry points.
#include "emulator/event.hpp"

#include "emulator/capture.hpp"
#include "emulator/context.hpp"
#include "emulator/stream.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

void record(Call& call, Event& event, Stream& stream, bool external) {
  require(event.context->root == stream.context->root, CUDA_ERROR_INVALID_HANDLE);
  if (stream.is_legacy) check_legacy_use(call.rt, *stream.context);
  if (stream.capture) return capture_record(call.rt, stream, event, external);
  event.capture.reset();
  event.nodes.clear();
  event.record = submit_to(call, stream, Marker{});
}

double elapsed_ms(Runtime& rt, CUevent start_handle, CUevent end_handle, bool& ready) {
  auto& start = rt.events.get(start_handle);
  auto& end = rt.events.get(end_handle);
  refuse_captured_event(rt, start);
  refuse_captured_event(rt, end);
  require(start.record && end.record, CUDA_ERROR_INVALID_HANDLE);
  require(!((start.flags | end.flags) & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
  ready = start.record->is_done() && end.record->is_done();
  return ready ? (end.record->done_us - start.record->done_us) / 1000 : 0;
}

}  // namespace
}  // namespace fico::emulator

CUresult cuEventCreate(CUevent* out, unsigned flags) {
  return api([&](Call& call) {
    constexpr unsigned known = unsigned{CU_EVENT_BLOCKING_SYNC} |
                               unsigned{CU_EVENT_DISABLE_TIMING} | unsigned{CU_EVENT_INTERPROCESS};
    require_value(out != nullptr && (flags & ~known) == 0);
    auto event = std::make_unique<Event>();
    event->context = current_context(call.rt).root;
    event->flags = flags;
    *out = call.rt.events.add<CUevent>(std::move(event));
    return CUDA_SUCCESS;
  });
}

CUresult cuEventDestroy_v2(CUevent handle) {
  return api([&](Call& call) {
    call.rt.events.get(handle);
    call.rt.events.remove(handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned flags) {
  return api([&](Call& call) {
    require_value((flags & ~unsigned{CU_EVENT_RECORD_EXTERNAL}) == 0);
    record(call, call.rt.events.get(handle), stream_of(call.rt, stream),
           flags & CU_EVENT_RECORD_EXTERNAL);
    return CUDA_SUCCESS;
  });
}

CUresult cuEventRecord(CUevent event, CUstream stream) {
  return cuEventRecordWithFlags(event, stream, 0);
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags) {
  return api([&](Call& call) {
    require_value((flags & ~unsigned{CU_EVENT_WAIT_EXTERNAL}) == 0);
    auto& stream = stream_of(call.rt, handle);
    auto& event = call.rt.events.get(event_handle);
    if (stream.is_legacy) check_legacy_use(call.rt, *stream.context);
    if (stream.capture || event.capture) {
      capture_wait(call.rt, stream, event, flags & CU_EVENT_WAIT_EXTERNAL);
    } else if (event.record && !event.record->is_done()) {
      submit_to(call, stream, Marker{}, {event.record});
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuEventQuery(CUevent handle) {
  return api([&](Call& call) {
    auto& event = call.rt.events.get(handle);
    refuse_captured_event(call.rt, event);
    check_unsafe_call(call.rt);
    return event.record && !event.record->is_done() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
  });
}

CUresult cuEventSynchronize(CUevent handle) {
  return api([&](Call& call) {
    auto& event = call.rt.events.get(handle);
    refuse_captured_event(call.rt, event);
    check_unsafe_call(call.rt);
    if (event.record) call.wait({event.record});
    return CUDA_SUCCESS;
  });
}

CUresult cuEventElapsedTime_v2(float* ms, CUevent start, CUevent end) {
  return api([&](Call& call) {
    require_value(ms != nullptr);
    bool ready = false;
    const double value = elapsed_ms(call.rt, start, end, ready);
    if (!ready) return CUDA_ERROR_NOT_READY;
    *ms = static_cast<float>(value);
    return CUDA_SUCCESS;
  });
}

CUresult cuEventElapsedTime(float* ms, CUevent start, CUevent end) {
  return cuEventElapsedTime_v2(ms, start, end);
}

CUresult cuGreenCtxRecordEvent(CUgreenCtx handle, CUevent event_handle) {
  return api([&](Call& call) {
    auto& context = green_context_of(call.rt, handle);
    auto& event = call.rt.events.get(event_handle);
    require(event.context->root == context.root, CUDA_ERROR_INVALID_HANDLE);
    for (auto* stream : context.streams) {
      require(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    // The legacy stream of the green context serves as the place where all its work comes together.
    event.capture.reset();
    event.record = submit_to(call, *context.legacy, Marker{}, all_work(call.rt, context));
    return CUDA_SUCCESS;
  });
}

CUresult cuGreenCtxWaitEvent(CUgreenCtx handle, CUevent event_handle) {
  return api([&](Call& call) {
    auto& context = green_context_of(call.rt, handle);
    auto& event = call.rt.events.get(event_handle);
    refuse_captured_event(call.rt, event);
    if (!event.record) return CUDA_SUCCESS;
    submit_to(call, *context.legacy, Marker{}, {event.record});
    for (auto* stream : context.streams) {
      require(!stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
      submit_to(call, *stream, Marker{}, {event.record});
    }
    return CUDA_SUCCESS;
  });
}
