// The profiler's half in the program: the driver loads this library at cuInit
// (CUDA_INJECTION64_PATH) and calls InitializeInjection. It records with CUPTI's activity API while
// the profiler wants it to, and never otherwise; CUPTI, which costs launches time even while it
// records nothing, is in the process from the first window on. Whatever fails, the program goes on.
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "collector/buffers.hpp"
#include "collector/cupti.hpp"
#include "collector/trace.hpp"

namespace fico::collector {
namespace {

// Never with CUPTI_ACTIVITY_KIND_GRAPH_TRACE, not even in turn: that has ended programs (segfault).
constexpr std::array kRecorded = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                  CUPTI_ACTIVITY_KIND_MEMSET};

// The trace file of this process, and the names in it. CUPTI calls back on threads of its own and
// on the one that flushes; `writing` keeps them apart.
struct Trace {
  Header* header = nullptr;
  Record* records = nullptr;
  char* names = nullptr;
  const Cupti* cupti = nullptr;
  std::mutex writing;
  std::unordered_map<std::string, std::uint32_t> known_names;
  Buffers buffers;
  // Whether CUPTI is in the process. Of the thread that makes its calls.
  bool is_attached = false;
};
Trace trace;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

void wake(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void fail(const char* what, const char* why) {
  std::snprintf(trace.header->message, sizeof trace.header->message, "%s: %s", what, why);
  trace.header->failed.store(1);
  wake(trace.header->recording);
}

std::uint32_t name_of(const char* text) {
  const auto [entry, is_new] = trace.known_names.try_emplace(text != nullptr ? text : "", 0);
  if (!is_new) return entry->second;
  const std::uint64_t at = trace.header->names_bytes.load();
  const std::size_t bytes = entry->first.size() + 1;
  if (at + bytes > trace.header->names_capacity) return 0;  // the empty name, which is the first
  std::memcpy(trace.names + at, entry->first.c_str(), bytes);
  trace.header->names_bytes.store(at + bytes);
  entry->second = static_cast<std::uint32_t>(at);
  return entry->second;
}

void append(const Record& record) {
  const std::uint64_t at = trace.header->count.load(std::memory_order_relaxed);
  if (at >= trace.header->capacity) {
    trace.header->dropped.fetch_add(1);
    return;
  }
  trace.records[at] = record;
  trace.header->count.store(at + 1, std::memory_order_release);
}

template <class Activity>
Record common_part(const Activity& activity, Kind kind) {
  Record record{};
  record.start_ns = activity.start;
  record.end_ns = activity.end;
  record.graph_node = activity.graphNodeId;
  record.graph = activity.graphId;
  record.correlation = activity.correlationId;
  record.stream = activity.streamId;
  record.context = activity.contextId;
  record.kind = kind;
  return record;
}

void append_kernel(const CUpti_ActivityKernel10& kernel) {
  Record record = common_part(kernel, Kind::kKernel);
  record.name = name_of(kernel.name);
  const std::int32_t grid[3] = {kernel.gridX, kernel.gridY, kernel.gridZ};
  const std::int32_t block[3] = {kernel.blockX, kernel.blockY, kernel.blockZ};
  const std::uint32_t cluster[3] = {kernel.clusterX, kernel.clusterY, kernel.clusterZ};
  for (int axis = 0; axis < 3; ++axis) {
    record.grid[axis] = static_cast<std::uint32_t>(grid[axis]);
    record.block[axis] = static_cast<std::uint32_t>(block[axis]);
    record.cluster[axis] = std::max(1U, cluster[axis]);
  }
  record.static_shared = static_cast<std::uint32_t>(kernel.staticSharedMemory);
  record.dynamic_shared = static_cast<std::uint32_t>(kernel.dynamicSharedMemory);
  record.registers = kernel.registersPerThread;
  append(record);
}

template <class Activity>
void append_transfer(const Activity& activity, Kind kind) {
  Record record = common_part(activity, kind);
  record.bytes = activity.bytes;
  append(record);
}

void append_activity(const CUpti_Activity* activity) {
  switch (activity->kind) {
    case CUPTI_ACTIVITY_KIND_KERNEL:
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
      append_kernel(*reinterpret_cast<const CUpti_ActivityKernel10*>(activity));
      break;
    case CUPTI_ACTIVITY_KIND_MEMCPY:
      append_transfer(*reinterpret_cast<const CUpti_ActivityMemcpy6*>(activity), Kind::kCopy);
      break;
    case CUPTI_ACTIVITY_KIND_MEMSET:
      append_transfer(*reinterpret_cast<const CUpti_ActivityMemset4*>(activity), Kind::kFill);
      break;
    default:
      break;
  }
}

void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most_records) {
  *buffer = trace.buffers.take();
  *bytes = *buffer != nullptr ? Buffers::kBytes : 0;
  *most_records = 0;
}

void CUPTIAPI take_buffer(CUcontext context, std::uint32_t stream, std::uint8_t* buffer,
                          std::size_t /*bytes*/, std::size_t valid_bytes) {
  {
    const std::lock_guard lock(trace.writing);
    CUpti_Activity* activity = nullptr;
    while (trace.cupti->next_record(buffer, valid_bytes, &activity) == CUPTI_SUCCESS) {
      append_activity(activity);
    }
    std::size_t dropped = 0;
    if (trace.cupti->dropped_records(context, stream, &dropped) == CUPTI_SUCCESS) {
      trace.header->dropped.fetch_add(dropped);
    }
  }
  trace.buffers.give_back(buffer);
}

bool good(CUptiResult result, const char* what) {
  if (result == CUPTI_SUCCESS) return true;
  const char* why = "unknown error";
  trace.cupti->result_string(result, &why);
  fail(what, why);
  return false;
}

bool expects_zeroed_buffers() {
  std::uint8_t value = 1;
  std::size_t bytes = sizeof value;
  return good(
      trace.cupti->set_attribute(CUPTI_ACTIVITY_ATTR_ZEROED_OUT_ACTIVITY_BUFFER, &bytes, &value),
      "CUPTI refuses a setting");
}

bool attach() {
  if (trace.is_attached) return true;
  trace.buffers.prepare();
  trace.is_attached =
      good(trace.cupti->register_callbacks(give_buffer, take_buffer), "CUPTI can't be used") &&
      expects_zeroed_buffers();
  return trace.is_attached;
}

bool begin_window() {
  if (!attach()) return false;
  {
    const std::lock_guard lock(trace.writing);
    trace.header->count.store(0);
    trace.header->dropped.store(0);
  }
  return std::ranges::all_of(kRecorded, [](CUpti_ActivityKind kind) {
    return good(trace.cupti->enable(kind), "CUPTI refuses to record");
  });
}

bool end_window() {
  const bool has_stopped = std::ranges::all_of(kRecorded, [](CUpti_ActivityKind kind) {
    return good(trace.cupti->disable(kind), "CUPTI does not stop recording");
  });
  if (!has_stopped ||
      !good(trace.cupti->flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "CUPTI gives no records")) {
    return false;
  }
  if (trace.header->detach.load() == 0) return true;
  trace.is_attached = false;
  return good(trace.cupti->finalize(), "CUPTI does not leave the process");
}

// Follows `wanted`, for as long as the process lives. All calls of CUPTI are made here.
void follow() {
  pthread_setname_np(pthread_self(), "fico-collector");
  Header& header = *trace.header;
  const char* why = nullptr;
  trace.cupti = Cupti::load(&why);
  if (trace.cupti == nullptr) {
    fail("nothing can be recorded", why);
    return;
  }
  while (true) {
    const std::uint32_t wanted = header.wanted.load();
    const std::uint32_t recording = header.recording.load();
    if (wanted == recording) {
      syscall(SYS_futex, &header.wanted, FUTEX_WAIT, wanted, nullptr, nullptr, 0);
      continue;
    }
    if (recording != 0 && !end_window()) return;
    if (wanted != 0 && !begin_window()) return;
    header.recording.store(wanted);
    wake(header.recording);
  }
}

// Maps the trace file that FICO_TRACE names; false if it is not ours to write.
bool open_trace() {
  const char* path = std::getenv("FICO_TRACE");  // NOLINT(concurrency-mt-unsafe)
  if (path == nullptr) return false;
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  struct stat status{};
  void* memory = MAP_FAILED;
  if (fstat(file, &status) == 0 && static_cast<std::size_t>(status.st_size) > kRecordsOffset) {
    memory = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ | PROT_WRITE,
                  MAP_SHARED, file, 0);
  }
  close(file);
  if (memory == MAP_FAILED) return false;
  auto* bytes = static_cast<char*>(memory);
  auto* header = reinterpret_cast<Header*>(bytes);
  const std::size_t needed =
      kRecordsOffset + (header->capacity * sizeof(Record)) + header->names_capacity;
  // The file is the first process's that uses CUDA, for as long as it lives: launchers often try
  // the GPU in a process of their own.
  std::uint32_t owner = header->owner.load();
  const bool is_free = owner == 0 || (kill(static_cast<pid_t>(owner), 0) != 0 && errno == ESRCH);
  if (header->magic != kMagic || header->version != kVersion ||
      header->record_bytes != sizeof(Record) || static_cast<std::size_t>(status.st_size) < needed ||
      !is_free ||
      !header->owner.compare_exchange_strong(owner, static_cast<std::uint32_t>(getpid()))) {
    munmap(memory, static_cast<std::size_t>(status.st_size));
    return false;
  }
  trace.header = header;
  trace.records = reinterpret_cast<Record*>(bytes + kRecordsOffset);
  trace.names = bytes + kRecordsOffset + (header->capacity * sizeof(Record));
  trace.known_names.emplace("", 0);
  // What an owner that has gone was told or had said.
  header->recording.store(0);
  header->failed.store(0);
  return true;
}

}  // namespace
}  // namespace fico::collector

// Called once by the driver in cuInit; the answer 1 says that all is well.
extern "C" __attribute__((visibility("default"))) int InitializeInjection() {
  namespace collector = fico::collector;
  if (!collector::open_trace()) return 1;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread(collector::follow).detach();
  } catch (const std::exception& error) {
    collector::fail("nothing can be recorded", error.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return 1;
}
