// What the emulated driver tells the emulated CUPTI: the one thing that the two libraries share.
#pragma once

#include <cstdint>

namespace fico::emulator {

enum class TraceKind : std::uint8_t { kKernel, kCopy, kMemset };
enum class TraceMemory : std::uint8_t { kPageable, kPinned, kDevice, kManaged, kGlobal };

/// One operation that the device has run. Times are emulated nanoseconds on the clock that all
/// processes of one emulated GPU share.
struct TraceRecord {
  TraceKind kind = TraceKind::kKernel;
  std::uint64_t start_ns = 0;
  std::uint64_t end_ns = 0;
  std::uint32_t context_id = 0;
  std::uint32_t stream_id = 0;
  /// The same for all that one call has asked for: a graph launch is one call.
  std::uint32_t correlation_id = 0;
  std::uint32_t graph_id = 0;  // of the instance; 0 outside of graphs
  std::uint64_t graph_node_id = 0;

  // Of a kernel.
  const char* name = nullptr;  // valid during the call of the sink
  std::uint32_t grid[3] = {};
  std::uint32_t block[3] = {};
  std::uint32_t cluster[3] = {};  // zeros without clusters
  std::uint32_t registers = 0;    // of a thread
  std::uint32_t static_shared_bytes = 0;
  std::uint32_t dynamic_shared_bytes = 0;
  bool is_cooperative = false;

  // Of a copy or a memset.
  std::uint64_t bytes = 0;
  TraceMemory source = TraceMemory::kDevice;
  TraceMemory target = TraceMemory::kDevice;
  std::uint32_t value = 0;
};

/// Called on the device's thread before anybody learns that the operation is done. It may not call
/// the driver.
using TraceSink = void (*)(const TraceRecord& record);

/// The way in, which the emulated driver exports as `fico_emulated_trace`; a real one has none.
struct TraceAccess {
  /// Changes with everything above.
  static constexpr std::uint32_t kVersion = 3;

  std::uint32_t version = kVersion;
  /// Sets who gets the records, once and for ever.
  void (*set_sink)(TraceSink sink);
  /// What is recorded from now on: bit k stands for the TraceKind k. An operation is recorded if
  /// its kind is wanted when it is submitted and when it ends.
  void (*set_wanted)(std::uint32_t kinds);
  /// The emulated time; 0 before cuInit.
  std::uint64_t (*now_ns)();
};
inline constexpr const char* kTraceSymbol = "fico_emulated_trace";

}  // namespace fico::emulator
