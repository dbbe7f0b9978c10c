// What a policy sees and what it says. Everything here is plain, trivially copyable data: rows lie
// in memory that the processes of a session share, and each row has one writer, its own process.
#pragma once

#include <cstdint>
#include <type_traits>

#include "profile/kernel.hpp"

namespace fico::policy {

constexpr std::uint32_t kMaxTenants = 48;  // MPS serves 48 clients on a device (CUDA 13.0)
constexpr double kForever_us = 1e300;

// A contiguous range of units, [lo, hi).
struct Units {
  std::uint16_t lo = 0;
  std::uint16_t hi = 0;

  constexpr std::uint32_t size() const { return hi > lo ? hi - lo : 0; }
  constexpr bool overlaps(Units other) const { return lo < other.hi && other.lo < hi; }
  constexpr std::uint64_t mask() const {
    if (size() == 0) return 0;
    return (size() >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << size()) - 1) << lo;
  }
  friend constexpr bool operator==(Units, Units) = default;
};

// Priorities as in CUDA: lower goes first. What today's devices offer.
constexpr std::int8_t kLevelFirst = -5;
constexpr std::int8_t kLevelLast = 0;

// What the session says of a tenant; written by whoever sets quotas.
struct Member {
  Units own;                  // its slice: the units of its quota
  std::int32_t priority = 0;  // given by the user; lower is more urgent
  bool present = false;
};

enum class Phase : std::uint8_t {
  kIdle = 0,  // no request
  kWants,     // in a request, nothing on the device, the next work is not granted
  kGranted,   // work is granted: on the device or on its way
};

// What a tenant says of itself. "Work" is what is decided on at once: a launch of an eager program,
// a segment of a graph.
struct alignas(64) Row {
  double since_us = 0;     // when it came to its phase
  double begin_us = 0;     // begin of the request
  double due_us = 0;       // when its own slice would have ended the request
  double mark_us = 0;      // what its last grant said (Grant::mark_us)
  float remaining_us = 0;  // of the request, from the present work on: alone on all units
  // The same on its own slice, beside the tenants that are in a request now: times `stretch` and
  // `learned`.
  float remaining_own_us = 0;
  float request_us = 0;        // of the whole request, alone on all units
  float stretch = 1;           // how much longer on units of its own beside those, by the profiles
  float learned = 1;           // and how many times as long as that its works took there until now
  float in_flight_us = 0;      // of work granted that has not ended: alone on all units
  Units units{};               // granted
  std::int8_t level = 0;       // of the grant
  bool exclusive : 1 = false;  // it claims `units`: nobody else's claim may overlap
  // Its request began as soon as the one before had ended, or is one of a loop that has paused
  // once.
  bool follows : 1 = false;
  // Its requests take longer than on its slice where all share all units: among closed loops, as
  // one of them; and else.
  bool crowded_loop : 1 = false;
  bool crowded : 1 = false;
  Phase phase = Phase::kIdle;
};
static_assert(std::is_trivially_copyable_v<Row> && std::is_trivially_copyable_v<Member>);
static_assert(sizeof(Row) == 64, "a cache line, so that a decision reads one a tenant");

// A whole request of a tenant.
struct Request {
  profile::Kernel facts;  // of its kernels together, as one
  std::uint32_t kernels = 0;
};

// The state of a session as one tenant that wants to launch sees it. Slots that are not present or
// idle have no work.
struct View {
  double now_us;
  std::uint32_t self;
  std::uint32_t unit_count;
  std::uint32_t count;  // slots in use: some may be absent
  const Member* members;
  const Row* rows;
  // Of each slot, null if not known: its present or next work, and the request.
  const profile::Kernel* const* work;
  const Request* const* request;

  const Row& own() const { return rows[self]; }
  Units slice() const { return members[self].own; }
  Units all() const { return {0, static_cast<std::uint16_t>(unit_count)}; }
  const profile::Kernel& kernel() const { return *work[self]; }
  // A tenant other than self that is in a request.
  bool rival(std::uint32_t slot) const { return slot != self && rows[slot].phase != Phase::kIdle; }
  bool contended() const {
    for (std::uint32_t slot = 0; slot < count; ++slot) {
      if (rival(slot)) return true;
    }
    return false;
  }
};

// What the tenant may do with its next work.
struct Grant {
  bool run = true;         // else hold
  bool exclusive = false;  // a claim: it gets what nobody else claims of `units`
  std::int8_t level = kLevelLast;
  Units units{};
  // Work that may go out in one piece before the next decision: alone on all units. At least one
  // work goes.
  double span_us = 0;
  double delay_us = 0;            // the device needs so long before it can begin (context switch)
  double until_us = kForever_us;  // of a hold: when to ask again if nothing has changed by then
  double mark_us = 0;             // a word of the policy's own, for all to see in the row

  static Grant hold(double until_us) { return {.run = false, .until_us = until_us}; }
};

}  // namespace fico::policy
