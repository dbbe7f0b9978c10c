// What tenants learn of their requests beside what profiles say (docs/policy.md, "Learning").
#pragma once

#include <cstdint>

#include "policy/view.hpp"
#include "profile/placed.hpp"
#include "sched/work.hpp"

namespace fico::sched {

// Of one kind of request of a tenant: running means of the last requests.
class Learned {
 public:
  Learned() = default;
  Learned(const Plan& plan, double apart) : plan_(&plan), apart_(apart) {}

  const Plan* plan() const { return plan_; }
  // How many times as long its works take on units of its own as `Row::stretch` says.
  double apart() const { return apart_; }
  // Whether it takes longer than on its slice where all units are shared.
  bool is_crowded() const { return crowded_; }

  // Works that are this share of a request took `ratio` times as long as was expected of them,
  // with `apart`.
  void took_apart(double ratio, double share);
  // A request took `ratio` times as long as on its slice, where all units were shared.
  void took_shared(double ratio);
  // One did not share all units.
  void did_not_share();

 private:
  // What is expected at first: a little less than on the slice. It counts as some requests.
  static constexpr double kShared = 0.95;
  static constexpr double kSharedSeen = 3;

  const Plan* plan_ = nullptr;
  double apart_ = 1;
  double apart_seen_ = 1;  // requests, at most as many as the mean is of
  double shared_ = kShared;
  double shared_seen_ = kSharedSeen;
  bool crowded_ = false;
};

// Of all kinds of all tenants.
class Learning {
 public:
  // Of a kind that is not known it forgets the one that it met first. `own`: the tenant's slice,
  // which says what is expected at first.
  Learned& of(std::uint32_t slot, const Plan& plan, policy::Units own, const profile::Sms& sms);
  void forget();

 private:
  static constexpr std::uint32_t kKinds = 4;  // that a tenant remembers
  Learned learned_[policy::kMaxTenants][kKinds] = {};
};

}  // namespace fico::sched
