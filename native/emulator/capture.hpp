// Stream capture: from a stream, and from those that join it, into a graph.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "emulator/graph.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {

/// One capture sequence. Streams and events that take part share it.
struct Capture {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::uint64_t thread = 0;  // that began it
  std::uint64_t id = 0;
  Stream* origin = nullptr;
  Graph* graph = nullptr;
  bool owns_graph = true;  // it was not given
  bool is_valid = true;
  bool is_over = false;
  std::vector<Stream*> streams;
};

/// An unsafe call, say an allocation: refused, and captures that forbid it are invalidated.
void check_unsafe_call(Runtime& rt);
/// Use of the legacy stream of a context: refused while a blocking stream of it is captured.
void check_legacy_use(Runtime& rt, Context& context);
/// A call that encompasses all streams of a context, say a synchronisation.
void check_context_wide(Runtime& rt, Context& context);

/// Begins a capture, into a new graph or after `tail` in a given one.
void begin_capture(Runtime& rt, Stream& stream, CUstreamCaptureMode mode, Graph* graph,
                   std::vector<Node*> tail);
/// Ends it; null with an error, the graph of the program otherwise.
CUresult end_capture(Runtime& rt, Stream& stream, CUgraph& graph);

/// Adds work of a stream that is being captured to its graph.
void capture_work(Runtime& rt, Stream& stream, Work work);
/// An event is recorded in a stream that is being captured.
void capture_record(Runtime& rt, Stream& stream, Event& event, bool external);
/// A stream waits for an event, and one of the two is part of a capture.
void capture_wait(Runtime& rt, Stream& stream, Event& event, bool external);
/// A captured event is queried, waited for by the host, or timed.
void refuse_captured_event(Runtime& rt, Event& event);
/// Adds a node to the capture of the stream, which then goes on after it.
Node& capture_node(Runtime& rt, Stream& stream, NodeTask task);
/// The stream goes away.
void drop_from_capture(Runtime& rt, Stream& stream);

}  // namespace fico::emulator
