// What a process decided and when, as a file of its own that `fico timeline` reads: a header and a
// ring of records of one size, mapped, so that nothing is to be flushed and a killed process leaves
// all that it had recorded.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace fico::seat {

constexpr char kTimelineMagic[] = "FICOTIME";
constexpr std::uint32_t kTimelineVersion = 1;

// X(identifier, name, meaning). All times are of CLOCK_MONOTONIC, in ns.
#define FICO_TIMELINE_EVENTS(X)                                                           \
  X(kBegin, "begin", "a request begins: `last` works, `predicted_us` alone on all units") \
  X(kDecision, "decision", "works [first, last) may go to units [lo, hi) at `level`")     \
  X(kIssue, "issue", "a piece is on its way to units [lo, hi), where it really went")     \
  X(kSeen, "seen", "a piece was seen to have ended: by a poll, so not before it had")     \
  X(kEnd, "end", "the request was seen to have ended, or the next one began")

enum class Event : std::uint16_t {
#define FICO_TIMELINE_ENUM(identifier, name, meaning) identifier,
  FICO_TIMELINE_EVENTS(FICO_TIMELINE_ENUM)
#undef FICO_TIMELINE_ENUM
};

// X(identifier, bit, name, meaning)
#define FICO_TIMELINE_FLAGS(X)                                                   \
  X(kGraph, 0, "graph", "begin: the request is a graph")                         \
  X(kExclusive, 1, "exclusive", "decision: it claims its units")                 \
  X(kContended, 2, "contended", "decision: others are in a request")             \
  X(kLate, 4, "late", "decision: held no longer, all that is left goes at once") \
  X(kHome, 5, "home", "issue: on the program's own stream")                      \
  X(kAlone, 6, "alone", "end: nobody else was in a request meanwhile")           \
  X(kWhole, 7, "whole", "end: all of it was issued")

namespace timeline_flag {
#define FICO_TIMELINE_FLAG(identifier, bit, name, meaning) \
  constexpr std::uint16_t identifier = 1U << (bit);
FICO_TIMELINE_FLAGS(FICO_TIMELINE_FLAG)
#undef FICO_TIMELINE_FLAG
}  // namespace timeline_flag

// X(type, name): what an event does not have is 0.
#define FICO_TIMELINE_FIELDS(X)                                                       \
  X(std::uint64_t, time_ns)                                                           \
  /* Of a decision: waits before it, [from, until) for room on the device and from    \
     then until `time_ns` held by the policy; `from` is 0 where there was no wait. */ \
  X(std::uint64_t, room_from_ns)                                                      \
  X(std::uint64_t, room_until_ns)                                                     \
  X(std::uint64_t, held_from_ns)                                                      \
  X(std::uint32_t, request) /* of the process, from 1 */                              \
  X(std::uint32_t, piece)   /* of the process, from 1; what is seen to end is one */  \
  X(std::uint32_t, first)                                                             \
  X(std::uint32_t, last)                                                              \
  X(float, predicted_us) /* by the profile, on the units that it was granted */       \
  X(std::uint16_t, event)                                                             \
  X(std::uint16_t, flags)                                                             \
  X(std::uint8_t, lo)                                                                 \
  X(std::uint8_t, hi)                                                                 \
  X(std::int8_t, level)

struct alignas(64) TimelineRecord {
#define FICO_TIMELINE_MEMBER(type, name) type name = 0;
  FICO_TIMELINE_FIELDS(FICO_TIMELINE_MEMBER)
#undef FICO_TIMELINE_MEMBER
};
static_assert(sizeof(TimelineRecord) == 64 && std::is_trivially_copyable_v<TimelineRecord>);

struct TimelineHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t capacity;  // records of the ring
  std::uint32_t pid;
  std::uint32_t unit_count;
  double clock_scale;  // real time over the device's: the emulated GPU may be slowed down
  char tenant[64];
  // Records so far; number n is at n modulo the capacity. One that is being written may already
  // have overwritten the oldest.
  alignas(64) std::atomic<std::uint64_t> written;
};
constexpr std::size_t kTimelineHeaderBytes = 4096;
static_assert(sizeof(TimelineHeader) <= kTimelineHeaderBytes &&
              std::is_standard_layout_v<TimelineHeader>);

// Owns one mapping. The file has all its room on the disk from the start, so that a full disk ends
// nobody.
class TimelineFile {
 public:
  static constexpr std::uint32_t kCapacity = 1U << 20U;  // 64 MiB
  static constexpr std::uint32_t kLeastCapacity = 2;

  // Makes FOLDER/TENANT-PID.timeline, or with a number behind it if that is there. SystemError.
  TimelineFile(const std::string& folder, const std::string& tenant, std::uint32_t unit_count,
               double clock_scale, std::uint32_t capacity = kCapacity);
  ~TimelineFile();
  TimelineFile(const TimelineFile&) = delete;
  TimelineFile& operator=(const TimelineFile&) = delete;

  // One thread at a time.
  void add(const TimelineRecord& record) {
    const std::uint64_t number = header_->written.load(std::memory_order_relaxed);
    records_[number % header_->capacity] = record;
    header_->written.store(number + 1, std::memory_order_release);
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::size_t bytes_;
  TimelineHeader* header_ = nullptr;
  TimelineRecord* records_ = nullptr;
};

}  // namespace fico::seat
