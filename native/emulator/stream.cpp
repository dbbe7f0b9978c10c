#include "emulator/stream.hpp"

#include <algorithm>

#include "emulator/capture.hpp"
#include "emulator/context.hpp"
#include "emulator/trace.hpp"

namespace fico::emulator {
namespace {

// A stream has at most twice this many operations in flight; a caller that is further ahead waits,
// as with the real driver, whose launch queue is of this length.
constexpr unsigned kMarkDistance = 512;

void add_pending(std::vector<OpRef>& ops, const OpRef& op) {
  if (op && !op->is_done()) ops.push_back(op);
}

// The legacy stream waits for all earlier work of the blocking streams of its context, and they for
// its. Non-blocking streams have no part in it.
void depend_on_earlier_work(Op& op, Stream& stream) {
  op.depend_on(stream.last);
  auto& context = *stream.context;
  if (stream.is_legacy) {
    for (auto* other : context.streams) {
      if (other->is_blocking()) op.depend_on(other->last);
    }
    for (const auto& orphan : context.blocking_orphans) op.depend_on(orphan);
    context.blocking_orphans.clear();
  } else if (stream.is_blocking() && context.legacy->last) {
    op.depend_on(context.legacy->last);
  }
}

Stream& per_thread_stream(Runtime& rt, Context& context) {
  require(context.kind != Context::Kind::kGreen, CUDA_ERROR_INVALID_HANDLE);
  auto& stream = context.per_thread[this_thread().id];
  if (!stream) {
    stream = std::make_unique<Stream>();
    stream->context = &context;
    stream->handle = CU_STREAM_PER_THREAD;
    stream->id = rt.next_id++;
    context.streams.push_back(stream.get());
  }
  return *stream;
}

}  // namespace

Stream& stream_of(Runtime& rt, CUstream handle) {
  if (!handle || handle == CU_STREAM_LEGACY) return *current_context(rt).legacy;
  if (handle == CU_STREAM_PER_THREAD) return per_thread_stream(rt, current_context(rt));
  return rt.streams.get(handle);
}

OpRef submit_to(Call& call, Stream& stream, Work work, const std::vector<OpRef>& also_after) {
  stream.hides_launch = stream.hides_launch && std::holds_alternative<Marker>(work);
  OpRef op(new Op(std::move(work)));
  depend_on_earlier_work(*op.get(), stream);
  for (const auto& other : also_after) op->depend_on(other);
  trace(call, *op.get(), stream);
  stream.last = op;
  if (!stream.hides_launch) stream.awaited = op;
  call.rt.executor.submit(op);
  if (++stream.since_mark >= kMarkDistance) {
    stream.since_mark = 0;
    if (stream.previous_mark) call.wait_at_end(stream.previous_mark);
    stream.previous_mark = std::exchange(stream.mark, op);
  }
  return op;
}

OpRef enqueue(Call& call, Stream& stream, Work work) {
  if (stream.is_legacy) check_legacy_use(call.rt, *stream.context);
  if (stream.capture) {
    capture_work(call.rt, stream, std::move(work));
    return {};
  }
  return submit_to(call, stream, std::move(work));
}

void require_not_capturing(Runtime& rt, Stream& stream) {
  if (stream.is_legacy) check_legacy_use(rt, *stream.context);
  if (!stream.capture) return;
  stream.capture->is_valid = false;
  fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

std::vector<OpRef> tail_of(Stream& stream) {
  std::vector<OpRef> ops;
  add_pending(ops, stream.last);
  if (stream.is_legacy) {
    for (auto* other : stream.context->streams) {
      if (other->is_blocking()) add_pending(ops, other->last);
    }
    for (const auto& orphan : stream.context->blocking_orphans) add_pending(ops, orphan);
  }
  return ops;
}

}  // namespace fico::emulator
