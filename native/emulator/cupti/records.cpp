#include "emulator/cupti/records.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace fico::emulator::cupti {
namespace {

bool is_on_host(TraceMemory memory) {
  return memory == TraceMemory::kPageable || memory == TraceMemory::kPinned;
}

CUpti_ActivityMemcpyKind copy_kind(TraceMemory source, TraceMemory target) {
  if (is_on_host(source)) {
    return is_on_host(target) ? CUPTI_ACTIVITY_MEMCPY_KIND_HTOH : CUPTI_ACTIVITY_MEMCPY_KIND_HTOD;
  }
  return is_on_host(target) ? CUPTI_ACTIVITY_MEMCPY_KIND_DTOH : CUPTI_ACTIVITY_MEMCPY_KIND_DTOD;
}

CUpti_ActivityMemoryKind memory_kind(TraceMemory memory) {
  switch (memory) {
    case TraceMemory::kPageable:
      return CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE;
    case TraceMemory::kPinned:
      return CUPTI_ACTIVITY_MEMORY_KIND_PINNED;
    case TraceMemory::kManaged:
      return CUPTI_ACTIVITY_MEMORY_KIND_MANAGED;
    case TraceMemory::kGlobal:
      return CUPTI_ACTIVITY_MEMORY_KIND_DEVICE_STATIC;
    case TraceMemory::kDevice:
      break;
  }
  return CUPTI_ACTIVITY_MEMORY_KIND_DEVICE;
}

// What all three have; the device is number 0.
template <class Activity>
Activity common_part(const TraceRecord& record, CUpti_ActivityKind kind,
                     CUpti_ChannelType channel) {
  Activity activity{};
  activity.kind = kind;
  activity.start = record.start_ns;
  activity.end = record.end_ns;
  activity.contextId = record.context_id;
  activity.streamId = record.stream_id;
  activity.correlationId = record.correlation_id;
  activity.graphId = record.graph_id;
  activity.graphNodeId = record.graph_node_id;
  activity.channelType = channel;
  return activity;
}

CUpti_ActivityKernel10 kernel_activity(const TraceRecord& record, const char* name) {
  static std::atomic<std::int64_t> last_grid_id{0};
  auto kernel = common_part<CUpti_ActivityKernel10>(record, CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                                    CUPTI_CHANNEL_TYPE_COMPUTE);
  kernel.name = name;
  kernel.completed = record.end_ns;
  kernel.gridX = static_cast<std::int32_t>(record.grid[0]);
  kernel.gridY = static_cast<std::int32_t>(record.grid[1]);
  kernel.gridZ = static_cast<std::int32_t>(record.grid[2]);
  kernel.blockX = static_cast<std::int32_t>(record.block[0]);
  kernel.blockY = static_cast<std::int32_t>(record.block[1]);
  kernel.blockZ = static_cast<std::int32_t>(record.block[2]);
  kernel.clusterX = record.cluster[0];
  kernel.clusterY = record.cluster[1];
  kernel.clusterZ = record.cluster[2];
  kernel.registersPerThread = static_cast<std::uint16_t>(record.registers);
  kernel.staticSharedMemory = static_cast<std::int32_t>(record.static_shared_bytes);
  kernel.dynamicSharedMemory = static_cast<std::int32_t>(record.dynamic_shared_bytes);
  kernel.sharedMemoryExecuted = record.static_shared_bytes + record.dynamic_shared_bytes;
  kernel.partitionedGlobalCacheRequested =
      CUPTI_ACTIVITY_PARTITIONED_GLOBAL_CACHE_CONFIG_NOT_SUPPORTED;
  kernel.partitionedGlobalCacheExecuted =
      CUPTI_ACTIVITY_PARTITIONED_GLOBAL_CACHE_CONFIG_NOT_SUPPORTED;
  kernel.launchType = record.is_cooperative ? CUPTI_ACTIVITY_LAUNCH_TYPE_COOPERATIVE_SINGLE_DEVICE
                                            : CUPTI_ACTIVITY_LAUNCH_TYPE_REGULAR;
  kernel.gridId = ++last_grid_id;
  return kernel;
}

CUpti_ActivityMemcpy6 copy_activity(const TraceRecord& record) {
  auto copy = common_part<CUpti_ActivityMemcpy6>(record, CUPTI_ACTIVITY_KIND_MEMCPY,
                                                 CUPTI_CHANNEL_TYPE_ASYNC_MEMCPY);
  copy.bytes = record.bytes;
  copy.copyKind = static_cast<std::uint8_t>(copy_kind(record.source, record.target));
  copy.srcKind = static_cast<std::uint8_t>(memory_kind(record.source));
  copy.dstKind = static_cast<std::uint8_t>(memory_kind(record.target));
  copy.copyCount = 1;
  return copy;
}

CUpti_ActivityMemset4 memset_activity(const TraceRecord& record) {
  auto memset = common_part<CUpti_ActivityMemset4>(record, CUPTI_ACTIVITY_KIND_MEMSET,
                                                   CUPTI_CHANNEL_TYPE_COMPUTE);
  memset.bytes = record.bytes;
  memset.value = record.value;
  memset.memoryKind = static_cast<std::uint16_t>(memory_kind(record.target));
  return memset;
}

template <class Activity>
std::size_t put(const Activity& activity, std::uint8_t* target) {
  static_assert(sizeof(Activity) <= kLargestRecord);
  std::memcpy(target, &activity, sizeof activity);
  return sizeof activity;
}

}  // namespace

std::optional<TraceKind> trace_kind(CUpti_ActivityKind kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
      return TraceKind::kKernel;
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      return TraceKind::kCopy;
    case CUPTI_ACTIVITY_KIND_MEMSET:
      return TraceKind::kMemset;
    default:
      return std::nullopt;
  }
}

std::size_t record_bytes(CUpti_ActivityKind kind) {
  const auto known = trace_kind(kind);
  if (!known) return 0;
  if (*known == TraceKind::kKernel) return sizeof(CUpti_ActivityKernel10);
  return *known == TraceKind::kCopy ? sizeof(CUpti_ActivityMemcpy6) : sizeof(CUpti_ActivityMemset4);
}

std::size_t write_record(const TraceRecord& record, const char* name,
                         std::span<std::uint8_t, kLargestRecord> target) {
  switch (record.kind) {
    case TraceKind::kKernel:
      return put(kernel_activity(record, name), target.data());
    case TraceKind::kCopy:
      return put(copy_activity(record), target.data());
    case TraceKind::kMemset:
      break;
  }
  return put(memset_activity(record), target.data());
}

}  // namespace fico::emulator::cupti
