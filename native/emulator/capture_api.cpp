// Stream capture: the entry points.
#include "emulator/capture.hpp"

#include <algorithm>

#include "emulator/context.hpp"
#include "emulator/stream.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

// The state of the legacy stream cannot be told while a blocking stream of its context is captured.
// Asking invalidates nothing.
void check_legacy_query(Runtime& rt, const Stream& stream) {
  if (!stream.is_legacy) return;
  for (const auto& capture : rt.captures) {
    for (const auto* captured : capture->streams) {
      require(captured->context != stream.context || !captured->is_blocking(),
              CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    }
  }
}

CUstreamCaptureStatus status_of(const Stream& stream) {
  if (!stream.capture) return CU_STREAM_CAPTURE_STATUS_NONE;
  return stream.capture->is_valid ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                  : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
}

std::vector<Node*> nodes_of(Runtime& rt, const Graph& graph, const CUgraphNode* handles,
                            std::size_t count) {
  require_value(count == 0 || handles != nullptr);
  std::vector<Node*> nodes;
  for (std::size_t i = 0; i < count; ++i) {
    nodes.push_back(&node_of(rt, handles[i]));
    require_value(nodes.back()->graph == &graph);
  }
  return nodes;
}

}  // namespace
}  // namespace fico::emulator

CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
  return api([&](Call& call) {
    begin_capture(call.rt, stream_of(call.rt, handle), mode, nullptr, {});
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamBeginCaptureToGraph(CUstream handle, CUgraph graph_handle,
                                     const CUgraphNode* after, const CUgraphEdgeData*,
                                     std::size_t count, CUstreamCaptureMode mode) {
  return api([&](Call& call) {
    auto& graph = graph_of(call.rt, graph_handle);
    require_value(!graph.is_captured);
    begin_capture(call.rt, stream_of(call.rt, handle), mode, &graph,
                  nodes_of(call.rt, graph, after, count));
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  return api([&](Call& call) {
    require_value(graph != nullptr);
    return end_capture(call.rt, stream_of(call.rt, handle), *graph);
  });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  return api([&](Call& call) {
    require_value(status != nullptr);
    auto& stream = stream_of(call.rt, handle);
    check_legacy_query(call.rt, stream);
    *status = status_of(stream);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetCaptureInfo_v3(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id,
                                   CUgraph* graph, const CUgraphNode** after,
                                   const CUgraphEdgeData** edges, std::size_t* count) {
  return api([&](Call& call) {
    require_value(status != nullptr);
    auto& stream = stream_of(call.rt, handle);
    check_legacy_query(call.rt, stream);
    *status = status_of(stream);
    const bool active = *status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
    stream.capture_handles.clear();
    if (active) {
      for (auto* node : stream.capture_tail) stream.capture_handles.push_back(node->handle());
    }
    stream.capture_edges.assign(stream.capture_handles.size(), CUgraphEdgeData{});
    if (id) *id = stream.capture ? stream.capture->id : 0;
    if (graph) *graph = active ? stream.capture->graph->handle() : nullptr;
    if (after) *after = stream.capture_handles.data();
    if (edges) *edges = stream.capture_edges.data();
    if (count) *count = stream.capture_handles.size();
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                   CUgraph* graph, const CUgraphNode** after, std::size_t* count) {
  return cuStreamGetCaptureInfo_v3(stream, status, id, graph, after, nullptr, count);
}

CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id) {
  return cuStreamGetCaptureInfo_v3(stream, status, id, nullptr, nullptr, nullptr, nullptr);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream handle, CUgraphNode* after,
                                              const CUgraphEdgeData*, std::size_t count,
                                              unsigned flags) {
  return api([&](Call& call) {
    require_value(flags <= CU_STREAM_SET_CAPTURE_DEPENDENCIES);
    auto& stream = stream_of(call.rt, handle);
    require(stream.capture != nullptr, CUDA_ERROR_ILLEGAL_STATE);
    require(stream.capture->is_valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    auto nodes = nodes_of(call.rt, *stream.capture->graph, after, count);
    if (flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES) stream.capture_tail.clear();
    for (auto* node : nodes) {
      const bool there = std::ranges::find(stream.capture_tail, node) != stream.capture_tail.end();
      if (!there) stream.capture_tail.push_back(node);
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode* after, std::size_t count,
                                           unsigned flags) {
  return cuStreamUpdateCaptureDependencies_v2(stream, after, nullptr, count, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  return api([&](Call&) {
    require_value(mode != nullptr && *mode >= CU_STREAM_CAPTURE_MODE_GLOBAL &&
                  *mode <= CU_STREAM_CAPTURE_MODE_RELAXED);
    std::swap(*mode, this_thread().capture_mode);
    return CUDA_SUCCESS;
  });
}
