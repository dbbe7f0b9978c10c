// The scheduler: events in, decisions out. A deterministic state machine without thread, clock, I/O
// or allocation; time comes with each event. It keeps the rows that tenants publish and asks the
// policy when work is wanted. Each process of a session runs one for its own tenant over rows that
// they share; the simulator runs one for all.
#pragma once

#include <cstdint>
#include <vector>

#include "policy/policy.hpp"
#include "profile/placed.hpp"
#include "sched/learning.hpp"
#include "sched/work.hpp"

namespace fico::sched {

// Plain data of a session, for shared memory.
struct Board {
  std::uint32_t unit_count = 0;
  std::uint32_t count = 0;  // slots that were ever used
  profile::Sms sms;
  policy::Member members[policy::kMaxTenants];
  policy::Row rows[policy::kMaxTenants];
};
static_assert(std::is_trivially_copyable_v<Board>);

struct Decision {
  policy::Grant grant;
  // Where it runs, what is granted is work [first, last) of the plan, in one piece.
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

// Calls for one tenant come in the order begin, (want, completed)..., end; a hold is followed by
// another want. Plans must outlive the request.
class Core {
 public:
  // std::invalid_argument if there are no units or more than fit.
  Core(const policy::Policy& policy, Board& board);

  void join(std::uint32_t slot, policy::Units own, std::int32_t priority);
  // Leaves or has died, it is the same: work on the device keeps its claim until completed().
  void leave(std::uint32_t slot);
  void change_member(std::uint32_t slot, policy::Units own, std::int32_t priority);
  void change_quota(std::uint32_t slot, policy::Units own);
  // Decides by another policy from now on, which must outlive the core.
  void use(const policy::Policy& policy);
  // For a core that runs one tenant of several: what another tenant says of itself, its present
  // work and its request; these must stay valid, and are null where they are not known.
  void see(std::uint32_t slot, const policy::Row& row, const profile::Kernel* work,
           const policy::Request* request);

  void begin(double now_us, std::uint32_t slot, const Plan& plan);
  // The tenant can launch its next work. On a hold: ask again when a row has changed, or at
  // `grant.until_us`.
  Decision want(double now_us, std::uint32_t slot);
  // Cuts the claim of a decision to what nobody else claims now. Where other cores decide at the
  // same time, each calls this once its claim can be seen.
  void confirm(double now_us, std::uint32_t slot, policy::Grant& grant);
  // The tenant wants what comes after the last decision, whether all of that has ended or not.
  void advance(double now_us, std::uint32_t slot);
  // Its next work is another than decisions say: the program has skipped or repeated some.
  void move_to(std::uint32_t slot, std::uint32_t work) { set_position(slot, work); }
  // All work of the last decision has ended: advances, and learns how long it took.
  void completed(double now_us, std::uint32_t slot);
  // Which work of its plan is present or next.
  std::uint32_t position(std::uint32_t slot) const { return position_[slot]; }
  // By the estimate, how long the works of the last decision take beside others on the units that
  // they claim; 0 if they claim none.
  double claimed_us(std::uint32_t slot) const;
  // Works on units of their own took so long, where `claimed_us` was expected. What a tenant learns
  // is kept for each kind of request, until the policy, the tenants or their slices change.
  void learn(std::uint32_t slot, double took_us, double claimed_us);
  // How long the present request takes on the tenant's slice, from now on.
  double slice_us(std::uint32_t slot) const { return board_.rows[slot].remaining_own_us; }
  // How long the request takes says nothing of such requests.
  void disregard(std::uint32_t slot) { shares_us_[slot] = 0; }
  // After the last work. Completed work that is not the last (a failed request) ends here as well.
  void end(double now_us, std::uint32_t slot);

  const Board& board() const { return board_; }

 private:
  void learn_sharing(double now_us, std::uint32_t slot);
  void set_position(std::uint32_t slot, std::uint32_t work);
  float stretch(std::uint32_t slot) const;
  bool all_follow() const;
  policy::View view(double now_us, std::uint32_t slot) const;
  policy::Grant confirmed(const policy::View& view, policy::Grant grant) const;

  const policy::Policy* policy_;
  Board& board_;
  std::uint32_t all_;  // index of all units in the arrays of a profile
  const Plan* plans_[policy::kMaxTenants] = {};
  const profile::Kernel* facts_[policy::kMaxTenants] = {};
  const policy::Request* requests_[policy::kMaxTenants] = {};
  std::uint32_t granted_to_[policy::kMaxTenants] = {};
  std::uint32_t position_[policy::kMaxTenants] = {};
  Learning learning_;
  double whole_slice_us_[policy::kMaxTenants] = {};  // of the whole request, on its slice
  // The same, if the request began beside others and shares all units.
  double shares_us_[policy::kMaxTenants] = {};
  bool in_loops_[policy::kMaxTenants] = {};           // it began among closed loops, as one of them
  Learned* kind_[policy::kMaxTenants] = {};           // of the request, or of the last one
  std::uint32_t followed_[policy::kMaxTenants] = {};  // requests in a row that began at once
};

}  // namespace fico::sched
