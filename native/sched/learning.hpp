// What tenants learn of their requests beside what profiles say (docs/policy.md, "Learning").
#pragma once

#include <cstdint>

#include "policy/view.hpp"
#include "profile/placed.hpp"
#include "sched/work.hpp"

namespace fico::sched {

// What is expected at first counts in a mean as so many requests: one slow one alone makes nobody
// crowded.
constexpr double kExpected = 4;

// How long requests take where all units are shared, over their time on the slice: a mean of the
// last ones, and whether that is too long.
class Sharing {
 public:
  bool is_crowded() const { return crowded_; }
  // A request took so many times as long as on the slice.
  void took(double ratio);
  // One did not share all units.
  void did_not();

 private:
  // What is expected at first: a little less than on the slice.
  static constexpr double kUsual = 0.95;
  double mean_ = kUsual;
  double seen_ = kExpected;
  bool crowded_ = false;
};

// Of one kind of request of a tenant.
class Learned {
 public:
  Learned() = default;
  Learned(const Plan& plan, double apart) : plan_(&plan), apart_(apart) {}

  const Plan* plan() const { return plan_; }
  // How many times as long its works take on units of its own as `Row::stretch` says: a mean of the
  // last requests.
  double apart() const { return apart_; }
  // Works that are this share of a request took `ratio` times as long as was expected of them,
  // with `apart`.
  void took_apart(double ratio, double share);

  // Closed loops are all there all the time: how long they make each other says nothing of requests
  // that come and go.
  Sharing in_loops;
  Sharing among_others;

 private:
  const Plan* plan_ = nullptr;
  double apart_ = 1;
  double seen_ = kExpected;  // requests, at most as many as the mean is of
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
