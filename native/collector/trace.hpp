// The file through which the profiler tells the collector when to record, and reads what it has
// recorded. `src/fico/profiling/collector.py` makes it and has the same layout, records.py that of
// a record.
//
// The profiler writes `detach`, then `wanted`, and wakes the waiters of that; the collector
// answers in `recording` once that is so. While `recording` is 0 all records of the last window are
// there and nobody writes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace fico::collector {

constexpr std::uint64_t kMagic = 0x0145'4341'5254'4346;  // "FCTRACE" and a byte of 1
constexpr std::uint32_t kVersion = 3;

enum class Kind : std::uint8_t { kKernel = 0, kCopy = 1, kFill = 2 };

// One operation on the GPU. Times are CUPTI's, in nanoseconds; 0 where it knows none.
struct Record {
  std::uint64_t start_ns;
  std::uint64_t end_ns;
  std::uint64_t graph_node;
  std::uint64_t bytes;  // of a copy or fill
  std::uint32_t graph;  // 0: not from a graph
  std::uint32_t correlation;
  std::uint32_t stream;
  std::uint32_t context;
  std::uint32_t name;  // where it begins in the names
  std::uint32_t grid[3];
  std::uint32_t block[3];
  std::uint32_t cluster[3];
  std::uint32_t static_shared;
  std::uint32_t dynamic_shared;
  std::uint16_t registers;
  Kind kind;
  std::uint8_t reserved;
};
static_assert(sizeof(Record) == 104);

struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t record_bytes;
  std::uint64_t capacity;             // records
  std::uint64_t names_capacity;       // bytes
  std::atomic<std::uint32_t> detach;  // 1: CUPTI leaves the process at the end of a window
  std::uint32_t reserved;
  std::atomic<std::uint32_t> wanted;     // number of the window to record, 0: none
  std::atomic<std::uint32_t> recording;  // what is recorded now
  std::atomic<std::uint32_t> owner;      // process that records; the first live one that uses CUDA
  std::atomic<std::uint32_t> failed;     // 1: `message` says why nothing is recorded
  std::atomic<std::uint64_t> count;      // records of this window
  std::atomic<std::uint64_t> dropped;    // operations of this window that found no room
  std::atomic<std::uint64_t> names_bytes;
  char message[256];
};
static_assert(sizeof(Header) == 336);

// The records begin here, then come the names: strings that end with 0.
constexpr std::size_t kRecordsOffset = 4096;

}  // namespace fico::collector
