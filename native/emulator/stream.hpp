// Streams, and how work enters them.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <vector>

#include "emulator/op.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {

/// The range of priorities; lower is more urgent.
inline constexpr int kLeastPriority = 0;
inline constexpr int kGreatestPriority = -5;

struct Stream {
  Context* context = nullptr;
  CUstream handle = nullptr;  // as the program names it: special values for the default streams
  unsigned flags = CU_STREAM_DEFAULT;
  int priority = 0;
  std::uint64_t id = 0;
  bool is_legacy = false;
  OpRef last;  // the newest operation; each waits for the one before
  /// What a wait for the context waits for: `last`, but for a launch of a graph with kernels of
  /// green contexts on a stream of one, while nothing but event records follows.
  OpRef awaited;
  bool hides_launch = false;
  /// Bound on what a stream has in flight: the operation some time ago, to wait for.
  OpRef mark, previous_mark;
  unsigned since_mark = 0;
  std::map<CUstreamAttrID, CUstreamAttrValue> attributes;

  /// While the stream is being captured: the capture, and what the next node depends on.
  std::shared_ptr<Capture> capture;
  std::vector<Node*> capture_tail;
  /// What cuStreamGetCaptureInfo has given out; valid until the next call on the stream.
  std::vector<CUgraphNode> capture_handles;
  std::vector<CUgraphEdgeData> capture_edges;

  bool is_blocking() const { return !is_legacy && !(flags & CU_STREAM_NON_BLOCKING); }
};

/// The stream of a handle, the default streams of the current context included. INVALID_HANDLE, or
/// CONTEXT_IS_DESTROYED.
Stream& stream_of(Runtime& rt, CUstream handle);

/// Appends work to a stream: an operation, or a node while the stream is being captured. Gives the
/// operation, or nothing when captured.
OpRef enqueue(Call& call, Stream& stream, Work work);
/// Appends an operation to a stream that is known not to be captured.
OpRef submit_to(Call& call, Stream& stream, Work work, const std::vector<OpRef>& also_after = {});
/// Refuses an operation that CUDA forbids on a stream that is being captured, and those that would
/// make a capture depend on the legacy stream.
void require_not_capturing(Runtime& rt, Stream& stream);

/// What an operation appended now would have to wait for.
std::vector<OpRef> tail_of(Stream& stream);

}  // namespace fico::emulator
