// A tenant's seat in the schedule of a session: it runs the core for its own tenant, publishes that
// tenant's row, and sees the rows of the others, all in the arena.
#pragma once

#include <cstdint>
#include <memory>

#include "arena/arena.hpp"
#include "sched/core.hpp"
#include "seat/schedule.hpp"

namespace fico::seat {

// Not thread-safe. Times are in microseconds of one clock that all tenants of the session share.
// Nothing allocates but refresh(), when policy or members have changed.
class Seat {
 public:
  // The arena must outlive the seat. `process`: of the tenant's processes the one that is
  // scheduled, as base::identify names it.
  Seat(const arena::Arena& arena, std::uint32_t slot, std::uint64_t process);

  // Whether this process has the tenant's seat: nobody else of the tenant lives who has it.
  bool is_taken();

  // Takes over what `fico set` or a tenant that came or went has changed. False if the session is
  // not scheduled, or the tenant has left it; then decisions may still be asked for to the end of
  // the request. ArenaError, std::invalid_argument if the policy can't be read: once, until it
  // changes.
  bool refresh();

  void begin(double now_us, const sched::Plan& plan);
  // As Core::want(), with what the others publish now.
  sched::Decision want(double now_us);
  // All that is left of the request, on all units, whatever the policy says.
  sched::Decision rest() const;
  // The device can take what comes after the last decision.
  void advance(double now_us);
  // As Core::claimed_us(), of the last decision, and Core::learn().
  double claimed_us() const { return core_->claimed_us(slot_); }
  void learn(double took_us, double claimed_us) { core_->learn(slot_, took_us, claimed_us); }
  double slice_us() const { return core_->slice_us(slot_); }
  void disregard() { core_->disregard(slot_); }
  // The program is somewhere else in its request than the decisions say.
  void move_to(std::uint32_t work) { core_->move_to(slot_, work); }
  void end(double now_us);
  // A sign of life: a tenant in a request that gives none for some milliseconds is taken for
  // stopped, and others use its units.
  void beat();

  // Whether some other tenant was in a request when it looked last.
  bool is_contended() const { return contended_; }
  // Whether there is any other tenant in the session.
  bool has_company() const { return has_company_; }
  // Of the session's last change that refresh() has seen, as grants have it.
  std::uint32_t epoch() const { return epoch_; }
  // How long before the end of a piece the next one goes out.
  double lead_us() const;
  policy::Units all() const { return {0, static_cast<std::uint16_t>(board_.unit_count)}; }

 private:
  struct Other {
    std::uint32_t generation = 0;
    std::uint64_t row_seen = 0;
    std::uint64_t work_seen = 0;
    std::uint64_t request_seen = 0;
    policy::Row row{};
    profile::Kernel work{};
    policy::Request request{};
  };

  // What the others publish. Of those who are stopped, or hang, as if they were in no request.
  void look_around(double now_us);
  bool is_ours() const;
  void publish(const sched::Plan* plan);

  const arena::Arena& arena_;
  const std::uint32_t slot_;
  const std::uint32_t generation_;
  const std::uint64_t process_;
  std::uint32_t epoch_ = 0;  // of members and policy
  bool scheduled_ = false;
  bool has_company_ = false;
  std::uint32_t schedule_number_ = 0;  // of the policy below; 0: there was none yet
  Pace pace_;
  std::unique_ptr<policy::Policy> policy_;
  sched::Board board_;
  std::unique_ptr<sched::Core> core_;
  const sched::Plan* plan_ = nullptr;
  std::unique_ptr<Other[]> others_;
  bool contended_ = false;
};

}  // namespace fico::seat
