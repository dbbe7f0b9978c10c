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

void begin_capture(Runtime& rt, Stream& stream, CUstreamCaptureMode mode, Graph* graph,
                   std::vector<Node*> tail) {
  require_value(mode == CU_STREAM_CAPTURE_MODE_GLOBAL ||
                mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ||
                mode == CU_STREAM_CAPTURE_MODE_RELAXED);
  require(!stream.is_legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  require(!stream.capture, CUDA_ERROR_ILLEGAL_STATE);
  auto capture = std::make_shared<Capture>();
  capture->mode = mode;
  capture->thread = this_thread().id;
  capture->id = rt.next_id++;
  capture->origin = &stream;
  capture->owns_graph = graph == nullptr;
  capture->graph = graph ? graph : &make_graph(rt);
  capture->graph->is_captured = true;
  capture->streams.push_back(&stream);
  stream.capture = capture;
  stream.capture_tail = std::move(tail);
  rt.captures.push_back(std::move(capture));
}

namespace {

// Takes all streams out of the capture.
void finish(Runtime& rt, Capture& capture) {
  capture.is_over = true;
  capture.graph->is_captured = false;
  const auto streams = std::move(capture.streams);
  std::erase_if(rt.captures, [&](const auto& each) { return each.get() == &capture; });
  for (auto* stream : streams) {
    stream->capture_tail.clear();
    stream->capture.reset();
  }
}

// Everything that other streams did must come before the end of the origin.
bool is_joined(const Capture& capture) {
  for (const auto* stream : capture.streams) {
    for (const auto* node : stream->capture_tail) {
      const bool reached = std::ranges::any_of(capture.origin->capture_tail, [&](const Node* end) {
        return is_at_or_after(*end, *node);
      });
      if (!reached) return false;
    }
  }
  return true;
}

}  // namespace

CUresult end_capture(Runtime& rt, Stream& stream, CUgraph& out) {
  out = nullptr;
  require(stream.capture != nullptr, CUDA_ERROR_ILLEGAL_STATE);
  const auto capture = stream.capture;
  if (capture->origin != &stream) {
    capture->is_valid = false;
    return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  }
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != this_thread().id) {
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  }
  CUresult result = CUDA_SUCCESS;
  if (!capture->is_valid) {
    result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  } else if (!is_joined(*capture)) {
    result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  }
  finish(rt, *capture);
  if (result == CUDA_SUCCESS) {
    out = capture->graph->handle();
  } else if (capture->owns_graph) {
    destroy_graph(rt, *capture->graph);
  }
  return result;
}

Node& capture_node(Runtime& rt, Stream& stream, NodeTask task) {
  auto& capture = *stream.capture;
  require(capture.is_valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  auto& node = add_node(rt, *capture.graph, std::move(task), stream.capture_tail);
  stream.capture_tail = {&node};
  return node;
}

void capture_work(Runtime& rt, Stream& stream, Work work) {
  const auto type = type_of(work);
  capture_node(rt, stream, {type, std::move(work), nullptr});
}

void capture_record(Runtime& rt, Stream& stream, Event& event, bool external) {
  if (external) {
    capture_node(rt, stream,
                 {CU_GRAPH_NODE_TYPE_EVENT_RECORD, Marker{}, reinterpret_cast<CUevent>(&event)});
    return;
  }
  require(stream.capture->is_valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  event.record.reset();
  event.capture = stream.capture;
  event.nodes = stream.capture_tail;
}

void capture_wait(Runtime& rt, Stream& stream, Event& event, bool external) {
  if (external && stream.capture) {
    capture_node(rt, stream,
                 {CU_GRAPH_NODE_TYPE_WAIT_EVENT, Marker{}, reinterpret_cast<CUevent>(&event)});
    return;
  }
  if (stream.capture) {
    require(stream.capture->is_valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  }
  if (!event.capture) {
    if (!event.record) return;
    stream.capture->is_valid = false;
    fail(CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  }
  auto& capture = *event.capture;
  require(!capture.is_over, CUDA_ERROR_CAPTURED_EVENT);
  require(capture.is_valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  if (stream.is_legacy) {
    capture.is_valid = false;
    fail(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  }
  if (stream.capture && stream.capture != event.capture) {
    stream.capture->is_valid = capture.is_valid = false;
    fail(CUDA_ERROR_STREAM_CAPTURE_MERGE);
  }
  if (!stream.capture) {
    stream.capture = event.capture;
    capture.streams.push_back(&stream);
  }
  auto& tail = stream.capture_tail;
  for (auto* node : event.nodes) {
    if (std::ranges::find(tail, node) == tail.end()) tail.push_back(node);
  }
}

void refuse_captured_event(Runtime&, Event& event) {
  if (!event.capture) return;
  event.capture->is_valid = false;
  fail(CUDA_ERROR_CAPTURED_EVENT);
}

void drop_from_capture(Runtime& rt, Stream& stream) {
  if (!stream.capture) return;
  const auto capture = stream.capture;
  capture->is_valid = false;
  if (capture->origin == &stream) {
    finish(rt, *capture);
    if (capture->owns_graph) destroy_graph(rt, *capture->graph);
  } else {
    std::erase(capture->streams, &stream);
  }
}

}  // namespace fico::emulator
