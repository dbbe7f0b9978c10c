#include "emulator/trace.hpp"

#include <algorithm>

#include "emulator/context.hpp"
#include "emulator/graph.hpp"
#include "emulator/launch.hpp"

namespace fico::emulator {
namespace {

std::atomic<TraceSink> trace_sink{nullptr};

constexpr double kNsPerUs = 1e3;

constexpr std::uint32_t bit(TraceKind kind) { return 1U << static_cast<unsigned>(kind); }

TraceMemory memory_of(const void* address) {
  const auto found = memory().find(reinterpret_cast<std::uint64_t>(address));
  if (!found) return TraceMemory::kPageable;
  switch (found->kind) {
    case MemoryKind::kPinned:
    case MemoryKind::kRegistered:
      return TraceMemory::kPinned;
    case MemoryKind::kManaged:
      return TraceMemory::kManaged;
    case MemoryKind::kGlobal:
      return TraceMemory::kGlobal;
    case MemoryKind::kDevice:
    case MemoryKind::kAsync:
      break;
  }
  return TraceMemory::kDevice;
}

void describe(Runtime& rt, const Kernel& kernel, TraceRecord& record) {
  // A kernel of a graph runs in the context that it was captured in, whatever the stream.
  if (const auto* context = rt.contexts.find(kernel.context)) {
    record.context_id = static_cast<std::uint32_t>(context->id);
  }
  record.name = kernel.image->name.c_str();
  std::ranges::copy(kernel.grid, record.grid);
  std::ranges::copy(kernel.block, record.block);
  if (const auto* cluster = find_attribute(kernel, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)) {
    const auto& size = cluster->value.clusterDim;
    record.cluster[0] = size.x;
    record.cluster[1] = size.y;
    record.cluster[2] = size.z;
  }
  const auto* cooperative = find_attribute(kernel, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
  record.is_cooperative = cooperative && cooperative->value.cooperative;
  record.registers = kernel.image->reported_registers();
  record.static_shared_bytes = kernel.image->shared_bytes;
  record.dynamic_shared_bytes = kernel.shared_bytes;
}

void describe(Runtime&, const Copy& copy, TraceRecord& record) {
  record.kind = TraceKind::kCopy;
  record.bytes = copy.bytes();
  record.source = memory_of(copy.source);
  record.target = memory_of(copy.target);
}

void describe(Runtime&, const Memset& memset, TraceRecord& record) {
  record.kind = TraceKind::kMemset;
  record.bytes = std::uint64_t{memset.width} * memset.height * memset.element_bytes;
  record.target = memory_of(memset.target);
  record.value = memset.value;
}

std::uint32_t kind_bit(const Work& work) {
  if (std::holds_alternative<Kernel>(work)) return bit(TraceKind::kKernel);
  if (std::holds_alternative<Copy>(work)) return bit(TraceKind::kCopy);
  if (std::holds_alternative<Memset>(work)) return bit(TraceKind::kMemset);
  return 0;
}

}  // namespace

void attach_record(Call& call, Op& op, const Stream& stream, const GraphExec* exec,
                   const ExecNode* node) {
  if (!(kind_bit(op.work) & traced_kinds.load(std::memory_order_relaxed))) return;
  auto record = std::make_unique<TraceRecord>();
  record->context_id = static_cast<std::uint32_t>(stream.context->id);
  record->stream_id = static_cast<std::uint32_t>(stream.id);
  record->correlation_id = call.correlation_id();
  if (exec) record->graph_id = static_cast<std::uint32_t>(exec->id);
  if (node) record->graph_node_id = node->id;
  if (const auto* kernel = std::get_if<Kernel>(&op.work)) describe(call.rt, *kernel, *record);
  if (const auto* copy = std::get_if<Copy>(&op.work)) describe(call.rt, *copy, *record);
  if (const auto* memset = std::get_if<Memset>(&op.work)) describe(call.rt, *memset, *record);
  op.record = std::move(record);
}

void emit_record(Op& op, double end_us) {
  auto& record = *op.record;
  if (!(bit(record.kind) & traced_kinds.load(std::memory_order_relaxed))) return;
  record.start_ns = static_cast<std::uint64_t>(op.start_us * kNsPerUs);
  record.end_ns = static_cast<std::uint64_t>(end_us * kNsPerUs);
  // Set before any kind was wanted.
  trace_sink.load(std::memory_order_acquire)(record);
}

}  // namespace fico::emulator

using namespace fico::emulator;

extern "C" __attribute__((visibility("default"))) const TraceAccess* fico_emulated_trace() {
  static constexpr TraceAccess kAccess{
      .set_sink = [](TraceSink sink) { trace_sink.store(sink, std::memory_order_release); },
      .set_wanted = [](std::uint32_t kinds) { traced_kinds.store(kinds); },
      .now_ns =
          [] {
            auto& rt = runtime();
            const bool is_running =
                rt.phase.load(std::memory_order_acquire) == Runtime::Phase::kInitialised;
            return is_running ? static_cast<std::uint64_t>(rt.executor.now_us() * kNsPerUs) : 0;
          },
  };
  return &kAccess;
}
