// Records of what the device has run, for the emulated CUPTI. While nobody wants any, an operation
// costs one look at a word when it is submitted and one at its own pointer when it ends.
#pragma once

#include <atomic>
#include <cstdint>

#include "emulator/op.hpp"
#include "emulator/runtime.hpp"
#include "emulator/trace_record.hpp"

namespace fico::emulator {

struct ExecNode;

/// The kinds that are wanted, a bit each.
inline std::atomic<std::uint32_t> traced_kinds{0};

/// Prepares the record of an operation of `stream`, if its kind is wanted; `exec` and `node` are
/// those of a graph launch. To be called before it is submitted.
void attach_record(Call& call, Op& op, const Stream& stream, const GraphExec* exec,
                   const ExecNode* node);

inline void trace(Call& call, Op& op, const Stream& stream, const GraphExec* exec = nullptr,
                  const ExecNode* node = nullptr) {
  if (traced_kinds.load(std::memory_order_relaxed)) attach_record(call, op, stream, exec, node);
}

/// Hands the record of an operation that has one to the sink. Executor thread only.
void emit_record(Op& op, double end_us);

}  // namespace fico::emulator
