#include "sched/core.hpp"

#include <algorithm>
#include <stdexcept>

#include "policy/placement.hpp"

namespace fico::sched {

namespace {

// The most that a tenant is owed, or owes, of a request on its own slice.
constexpr double kMostDebt = 0.25;
constexpr double kMostCredit = 1;
// The part of what it is owed that counts for the next request: estimates err.
constexpr double kKept = 0.8;
// A piece counts as no more of a difference than this: it may have waited for something else.
constexpr double kMostRatio = 2;
// What neighbours cost on units of its own: so much for each kernel, and so much of sensitivity
// times pressure (docs/policy.md says from what).
constexpr double kSharedGap_us = 0.9;
constexpr double kInterference = 0.25;
// The stretch of a tenant that has no neighbours.
constexpr float kAlone = 1;
// What a program takes at most between two requests of a closed loop or a queue: from seeing the
// end of one to issuing the next. Python servers took 6 to 9 µs, and 23 in one of a hundred;
// between these there are also the wake-up of the program and its launch.
constexpr double kPause_us = 100;
// After so many that did, a request follows that comes after a pause: a closed loop that has paused
// once still is one.
constexpr std::uint32_t kLoop = 8;

}  // namespace

using policy::Grant;
using policy::Phase;
using policy::Row;
using policy::Units;
using policy::View;

Core::Core(const policy::Policy& policy, Board& board)
    : policy_(&policy),
      board_(board),
      all_(std::clamp(board.unit_count, 1U, profile::kMaxUnits) - 1) {
  if (board.unit_count < 1 || board.unit_count > profile::kMaxUnits) {
    throw std::invalid_argument("a GPU has 1 to " + std::to_string(profile::kMaxUnits) +
                                " units, not " + std::to_string(board.unit_count));
  }
}

void Core::join(std::uint32_t slot, Units own, std::int32_t priority) {
  board_.members[slot] = {own, priority, true};
  board_.rows[slot] = {};
  kind_[slot] = nullptr;
  followed_[slot] = 0;
  board_.count = std::max(board_.count, slot + 1);
  learning_.forget();
}

void Core::leave(std::uint32_t slot) {
  board_.members[slot].present = false;
  learning_.forget();
  plans_[slot] = nullptr;
  facts_[slot] = nullptr;
  requests_[slot] = nullptr;
  Row& row = board_.rows[slot];
  const bool on_device = row.phase == Phase::kGranted;
  const Row last = row;
  row = {};
  if (on_device) {
    row.units = last.units;
    row.exclusive = last.exclusive;
  }
}

void Core::change_quota(std::uint32_t slot, Units own) {
  board_.members[slot].own = own;
  learning_.forget();
  if (plans_[slot]) set_position(slot, position_[slot]);
}

void Core::change_member(std::uint32_t slot, Units own, std::int32_t priority) {
  board_.members[slot].priority = priority;
  if (own != board_.members[slot].own) change_quota(slot, own);
}

void Core::see(std::uint32_t slot, const Row& row, const profile::Kernel* work,
               const policy::Request* request) {
  board_.rows[slot] = row;
  facts_[slot] = work;
  requests_[slot] = request;
}

void Core::set_position(std::uint32_t slot, std::uint32_t work) {
  Row& row = board_.rows[slot];
  const Plan& plan = *plans_[slot];
  position_[slot] = work;
  if (work >= plan.work.size()) {
    row.remaining_us = row.remaining_own_us = 0;
    return;
  }
  const Work& next = plan.work[work];
  facts_[slot] = &next.facts;
  row.remaining_us = next.remaining_us[all_];
  const std::uint32_t own = std::clamp(board_.members[slot].own.size(), 1U, all_ + 1);
  row.stretch = stretch(slot);
  row.learned = static_cast<float>(kind_[slot]->apart());
  row.remaining_own_us = next.remaining_us[own - 1] * row.stretch * row.learned;
}

// What memory, L2 and longer gaps cost a request on units of its own, beside those that are in a
// request now.
float Core::stretch(std::uint32_t slot) const {
  double used[profile::kResources] = {};
  bool alone = true;
  for (std::uint32_t other = 0; other < board_.count; ++other) {
    if (other == slot || board_.rows[other].phase == Phase::kIdle) continue;
    alone = false;
    for (std::uint32_t r = 0; requests_[other] && r < profile::kResources; ++r) {
      used[r] += requests_[other]->facts.pressure[r];
    }
  }
  if (alone) return kAlone;
  const Plan& plan = *plans_[slot];
  const std::uint32_t own = std::clamp(board_.members[slot].own.size(), 1U, all_ + 1);
  double stretch = 1 + kSharedGap_us * plan.request.kernels / plan.work[0].remaining_us[own - 1];
  for (std::uint32_t r = 0; r < profile::kResources; ++r) {
    stretch += kInterference * plan.request.facts.sensitivity[r] * std::min(1.0, used[r]);
  }
  return static_cast<float>(stretch);
}

// Whether all requests there began as soon as the ones before had ended.
bool Core::all_follow() const {
  for (std::uint32_t slot = 0; slot < board_.count; ++slot) {
    const Row& row = board_.rows[slot];
    if (row.phase != Phase::kIdle && !row.follows) return false;
  }
  return true;
}

void Core::use(const policy::Policy& policy) {
  policy_ = &policy;
  learning_.forget();
}

void Core::begin(double now_us, std::uint32_t slot, const Plan& plan) {
  plans_[slot] = &plan;
  requests_[slot] = &plan.request;
  kind_[slot] = &learning_.of(slot, plan, board_.members[slot].own, board_.sms);
  Row& row = board_.rows[slot];
  // On its own slice this request would begin when the one before it ended there. What that ended
  // late here, less the time since, it is owed.
  const double ended_us = row.since_us;
  const double debt_us = kKept * std::max(0.0, ended_us - row.due_us - (now_us - ended_us));
  const double credit_us = std::max(0.0, row.due_us - now_us);
  set_position(slot, 0);
  row.phase = Phase::kWants;
  const bool soon = ended_us > 0 && now_us < ended_us + kPause_us;
  row.follows = soon || followed_[slot] >= kLoop;
  followed_[slot] = soon ? followed_[slot] + 1 : 0;
  row.since_us = now_us;
  row.begin_us = now_us;
  row.request_us = row.remaining_us;
  const double own_us = row.remaining_own_us;
  whole_slice_us_[slot] = own_us;
  shares_us_[slot] = row.stretch > kAlone ? own_us : 0;
  row.crowded_loop = kind_[slot]->in_loops.is_crowded();
  row.crowded = kind_[slot]->among_others.is_crowded();
  in_loops_[slot] = all_follow();
  row.due_us = now_us + std::min(credit_us, kMostCredit * own_us) -
               std::min(debt_us, kMostDebt * own_us) + own_us;
}

View Core::view(double now_us, std::uint32_t slot) const {
  return {now_us,      slot,   board_.unit_count, board_.count, board_.members,
          board_.rows, facts_, requests_};
}

void Core::confirm(double now_us, std::uint32_t slot, Grant& grant) {
  grant = confirmed(view(now_us, slot), grant);
  board_.rows[slot].units = grant.units;
  board_.rows[slot].exclusive = grant.exclusive;
}

Decision Core::want(double now_us, std::uint32_t slot) {
  Row& row = board_.rows[slot];
  const View view = this->view(now_us, slot);
  Grant grant = policy_->decide(view);
  if (!grant.run) {
    const double bound_us = row.since_us + policy_->longest_hold_us();
    if (now_us < bound_us) {
      grant.until_us = std::min(grant.until_us, bound_us);
      return {.grant = grant};
    }
    grant = {.units = view.all(), .mark_us = row.mark_us};
  }
  grant = confirmed(view, grant);

  const Plan& plan = *plans_[slot];
  const auto works = static_cast<std::uint32_t>(plan.work.size());
  std::uint32_t last = position_[slot] + 1;
  if (grant.span_us >= policy::kForever_us) {
    last = works;
  } else if (plan.from_graph) {
    const float from_us = plan.work[position_[slot]].remaining_us[all_];
    while (last < works && from_us - plan.work[last].remaining_us[all_] < grant.span_us) ++last;
  }
  row.phase = Phase::kGranted;
  row.since_us = now_us;
  row.units = grant.units;
  row.exclusive = grant.exclusive;
  row.level = grant.level;
  row.mark_us = grant.mark_us;
  if (grant.exclusive) shares_us_[slot] = 0;
  row.in_flight_us = row.remaining_us - (last < works ? plan.work[last].remaining_us[all_] : 0);
  granted_to_[slot] = last;
  return {grant, position_[slot], last};
}

// A claim is cut to what nobody else claims. Where nothing is left, the units are shared.
Grant Core::confirmed(const View& view, Grant grant) const {
  grant.units.hi = std::min(grant.units.hi, static_cast<std::uint16_t>(board_.unit_count));
  if (grant.units.size() == 0) grant.units = view.all();
  grant.level = std::clamp(grant.level, policy::kLevelFirst, policy::kLevelLast);
  // Alone it goes last, so that what comes later can still go before it.
  if (grant.units == view.all() && !view.contended()) grant.level = policy::kLevelLast;
  if (!grant.exclusive) return grant;
  const Units free = policy::longest_free(grant.units, policy::claimed_by_others(view));
  if (free.size() == 0) {
    grant.exclusive = false;
  } else {
    grant.units = free;
  }
  return grant;
}

double Core::claimed_us(std::uint32_t slot) const {
  const Row& row = board_.rows[slot];
  if (!plans_[slot] || !row.exclusive || row.phase != Phase::kGranted) return 0;
  if (row.stretch == kAlone) return 0;
  const auto& work = plans_[slot]->work;
  const std::uint32_t unit = std::min({row.units.size() - 1, all_, profile::kMaxUnits - 1});
  double expected_us = work[position_[slot]].remaining_us[unit];
  if (granted_to_[slot] < work.size()) expected_us -= work[granted_to_[slot]].remaining_us[unit];
  return std::max(0.0, expected_us * row.stretch * row.learned);
}

void Core::learn(std::uint32_t slot, double took_us, double claimed_us) {
  if (kind_[slot] == nullptr || claimed_us <= 0 || whole_slice_us_[slot] <= 0) return;
  const double ratio = std::clamp(took_us / claimed_us, 1 / kMostRatio, kMostRatio);
  kind_[slot]->took_apart(ratio, std::min(1.0, claimed_us / whole_slice_us_[slot]));
}

void Core::learn_sharing(double now_us, std::uint32_t slot) {
  Learned& kind = *kind_[slot];
  Sharing& sharing = in_loops_[slot] ? kind.in_loops : kind.among_others;
  if (shares_us_[slot] > 0) {
    sharing.took((now_us - board_.rows[slot].begin_us) / shares_us_[slot]);
  } else {
    sharing.did_not();
  }
}

void Core::completed(double now_us, std::uint32_t slot) {
  learn(slot, now_us - board_.rows[slot].since_us, claimed_us(slot));
  advance(now_us, slot);
}

void Core::advance(double now_us, std::uint32_t slot) {
  Row& row = board_.rows[slot];
  row.units = {};
  row.exclusive = false;
  row.in_flight_us = 0;
  if (!board_.members[slot].present) return;
  row.phase = Phase::kWants;
  row.since_us = now_us;
  set_position(slot, granted_to_[slot]);
}

void Core::end(double now_us, std::uint32_t slot) {
  Row& row = board_.rows[slot];
  row.phase = Phase::kIdle;
  row.since_us = now_us;
  if (kind_[slot] != nullptr) learn_sharing(now_us, slot);
  row.remaining_us = row.remaining_own_us = row.in_flight_us = 0;
  row.units = {};
  row.exclusive = false;
  plans_[slot] = nullptr;
  facts_[slot] = nullptr;
  requests_[slot] = nullptr;
}

}  // namespace fico::sched
