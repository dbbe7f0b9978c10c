// The shared memory of one session, as every process of it maps it.
//
// One writer at a time changes membership, quotas and the policy, under the session's file lock
// (membership.hpp). Everything a launch reads is one aligned atomic word, so that readers need no
// lock and a writer killed between two stores leaves words that are each valid; the next change or
// sweep repeats the distribution from the quotas.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "arena/box.hpp"

namespace fico::arena {

constexpr std::uint64_t kMagic = 0x0141'4e45'5241'4346;  // "FCARENA" and a byte of 1
constexpr std::uint32_t kVersion = 7;
constexpr std::uint32_t kMaxUnits = 64;
constexpr std::uint32_t kMaxTenants = 48;  // MPS serves 48 clients on a device (CUDA 13.0)
constexpr std::uint32_t kMaxProcesses = 16;
constexpr std::uint32_t kMaxNotes = 8;
constexpr std::uint32_t kNoteBytes = 120;
constexpr std::uint32_t kScheduleBytes = 256;
constexpr std::uint32_t kRowBytes = 64;
constexpr std::uint32_t kFactsBytes = 320;

// How a session hands out its units.
enum class Policy : std::uint32_t { kMps = 0, kStatic = 1, kShuffle = 2, kScheduled = 3 };

// What a launch has to know, in one word: the tenant's units [lo, hi) and whether it is confined.
enum class Mode : std::uint8_t {
  kOpen = 0,       // no partition: streams stay as the program made them
  kConfined = 1,   // every launch on the tenant's own units
  kShuffle = 2,    // every launch on a random partition (testing)
  kScheduled = 3,  // a policy says, launch by launch; [lo, hi) is the tenant's slice
};

struct Grant {
  std::uint8_t lo;
  std::uint8_t hi;
  Mode mode;
  std::uint8_t reserved;
  std::uint32_t epoch;  // counts changes, so that a reader sees that the same range was given anew
};
static_assert(sizeof(Grant) == 8 && std::atomic<Grant>::is_always_lock_free);

// Who holds a unit: a tenant's slot and the low bits of its generation; 0 is nobody.
using Holder = std::uint32_t;
constexpr Holder make_holder(std::uint32_t slot, std::uint32_t generation) {
  return ((slot + 1) << 24U) | (generation & 0xff'ffffU);
}

// What a tenant's processes count. Names and meanings are in counters.hpp.
constexpr std::uint32_t kMaxCounters = 32;

// What a tenant asked for: a share of the units, a number of units, or (both 0) an equal part of
// what the others leave.
struct Quota {
  std::uint32_t ppm = 0;
  std::uint32_t units = 0;
};
static_assert(sizeof(Quota) == 8 && std::atomic<Quota>::is_always_lock_free);

// Where a tenant is in the requests of its profile: launch `position` of the `launches` of a kind
// of request, both counted from 1, and what is left of that request alone on all units. All 0: it
// has no profile, or has launched nothing of it.
struct Progress {
  std::uint32_t kind;
  std::uint32_t position;
  std::uint32_t launches;
  float remaining_us;
};

enum class Phase : std::uint32_t { kFree = 0, kLive = 1 };

struct Tenant {
  std::atomic<std::uint32_t> generation;  // grows each time the slot is taken
  std::atomic<Phase> phase;
  std::atomic<Grant> grant;
  std::atomic<std::uint64_t> leader;  // base::ProcessId of the process that joined
  std::atomic<std::uint64_t> processes[kMaxProcesses];
  std::atomic<Quota> quota;
  std::atomic<std::int32_t> priority;
  std::atomic<std::uint32_t> note_count;
  alignas(64) std::atomic<std::uint64_t> counters[kMaxCounters];
  // Processes of one tenant that write it at the same time may leave a mix of both.
  Box<sizeof(Progress)> progress;
  std::uint64_t memory_bytes;
  std::uint64_t joined_ns;
  // The one process of the tenant that is scheduled (base::ProcessId), which writes all below; what
  // they hold is sched's (seat/seat.hpp).
  std::atomic<std::uint64_t> seat;
  std::atomic<std::uint64_t> beat_ns;  // when it last gave a sign of life (monotonic)
  alignas(64) Box<kRowBytes> row;
  Box<kFactsBytes> work;
  Box<kFactsBytes> request;
  char name[64];
  char notes[kMaxNotes][kNoteBytes];
};

constexpr std::uint64_t request_bit(std::uint32_t slot) { return std::uint64_t{1} << slot; }

struct Layout {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t bytes;
  std::uint32_t unit_count;
  std::uint32_t emulated;
  std::uint32_t sms_per_unit[kMaxUnits];
  char gpu_uuid[48];
  char gpu_name[96];
  char driver_version[32];
  std::uint64_t created_ns;
  std::atomic<Policy> policy;
  // Name and settings of the policy, as seat/schedule.hpp writes them. Written while a change of
  // quotas has begun and not ended.
  char schedule[kScheduleBytes];
  // Grows each time a policy is set, also the same again: what tenants learned is of before.
  std::atomic<std::uint32_t> schedule_number;
  // A change of quotas begins with begun = ended + 1 and ends with ended = begun: a writer that was
  // killed between them is seen by that, and the distribution is repeated.
  std::atomic<std::uint32_t> change_begun;
  std::atomic<std::uint32_t> change_ended;  // futex word: processes wait here for news
  // The bit of each slot whose tenant is in a request, beside the word above: a launch looks at
  // both. One that is set although its tenant is in none (it was killed) makes others look closer,
  // no more.
  std::atomic<std::uint64_t> in_request;
  alignas(64) std::atomic<Holder> holders[kMaxUnits];
  alignas(64) Tenant tenants[kMaxTenants];
};
static_assert(std::is_standard_layout_v<Layout>);
static_assert(offsetof(Layout, magic) == 0 && offsetof(Layout, version) == 8 &&
              offsetof(Layout, bytes) == 12);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace fico::arena
