// What the pacer decided and when, recorded for `fico timeline` where FICO_TIMELINE names a folder.
// Otherwise each call is a test of one pointer.
#pragma once

#include <cstdint>
#include <memory>

#include "base/clock.hpp"
#include "hook/streams.hpp"
#include "hook/tenant.hpp"
#include "sched/core.hpp"
#include "seat/seat.hpp"
#include "seat/timeline_file.hpp"

namespace fico::hook {

// The pacer's, called under its mutex: by the thread that launches, but for pieces that are seen to
// end and the ends of requests, which the keeper's thread notes too. Nothing allocates or locks
// after open().
class Timeline {
 public:
  // Once this process decides for its tenant. What fails is counted, and one line says why.
  void open(double clock_scale);
  bool is_on() const {
    // Not in a forked child: the file is its parent's.
    return file_ != nullptr && Tenant::is_active();
  }

  // The next decision waited for room since then, until now; or was held since then.
  void had_no_room(std::uint64_t from_ns) {
    if (!is_on()) return;
    next_.room_from_ns = from_ns;
    next_.room_until_ns = base::monotonic_ns();
  }
  void was_held(std::uint64_t from_ns, bool too_long) {
    if (!is_on()) return;
    next_.held_from_ns = from_ns;
    if (too_long) next_.flags |= seat::timeline_flag::kLate;
  }

  void began(const sched::Plan& plan, double predicted_us) {
    if (is_on()) add_begin(plan, predicted_us);
  }
  void decided(const sched::Decision& decision, double predicted_us, const seat::Seat& seat) {
    if (is_on()) add_decision(decision, predicted_us, seat);
  }
  // Works [first, last) have been launched; gives the piece's number.
  std::uint32_t issued(const Issue& issue, std::uint32_t first, std::uint32_t last,
                       double predicted_us) {
    return is_on() ? add_issue(issue, first, last, predicted_us) : 0;
  }
  void seen(std::uint32_t piece) {
    if (is_on()) add({.piece = piece}, seat::Event::kSeen);
  }
  void ended(bool alone, bool whole) {
    if (is_on()) add_end(alone, whole);
  }

 private:
  void add_begin(const sched::Plan& plan, double predicted_us);
  void add_decision(const sched::Decision& decision, double predicted_us, const seat::Seat& seat);
  std::uint32_t add_issue(const Issue& issue, std::uint32_t first, std::uint32_t last,
                          double predicted_us);
  void add_end(bool alone, bool whole);
  void add(seat::TimelineRecord record, seat::Event event);

  std::unique_ptr<seat::TimelineFile> file_;
  bool tried_ = false;
  seat::TimelineRecord next_{};  // the waits before the next decision
  std::uint32_t requests_ = 0;
  std::uint32_t pieces_ = 0;
};

}  // namespace fico::hook
