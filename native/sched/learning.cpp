#include "sched/learning.hpp"

#include <algorithm>

namespace fico::sched {

namespace {

// Means are of so many requests.
constexpr double kWindow = 20;
constexpr double kMostLearned = 2;
// From when on sharing counts as too slow, which is what the promise leaves (docs/policy.md), and
// from when on no more. While it does nothing new is learned of it: it is tried again after 300 to
// 500 requests.
constexpr double kCrowded = 1.02;
constexpr double kInTime = 1;
constexpr double kForgetting = 0.001;
// One request says no more than this: it may have waited for what has nothing to do with others.
constexpr double kMostShared = 1.25;

// The weight of a new one in a mean.
double weight(double& seen, double share) {
  seen = std::min(seen + share, kWindow);
  return share / seen;
}

}  // namespace

void Sharing::took(double ratio) {
  mean_ += weight(seen_, 1) * (std::min(ratio, kMostShared) - mean_);
  crowded_ = mean_ > (crowded_ ? kInTime : kCrowded);
}

void Sharing::did_not() {
  if (!crowded_) return;
  mean_ += kForgetting * (kUsual - mean_);
  crowded_ = mean_ > kInTime;
}

void Learned::took_apart(double ratio, double share) {
  const double by = 1 + weight(seen_, share) * (ratio - 1);
  apart_ = std::clamp(apart_ * by, 1 / kMostLearned, kMostLearned);
}

Learned& Learning::of(std::uint32_t slot, const Plan& plan, policy::Units own,
                      const profile::Sms& sms) {
  auto& kinds = learned_[slot];
  const auto known = std::ranges::find(kinds, &plan, &Learned::plan);
  if (known != std::end(kinds)) return *known;
  std::ranges::rotate(kinds, std::begin(kinds) + 1);
  double apart = 1;
  if (own.size() > 0) {
    const profile::Kernel& facts = plan.request.facts;
    apart = profile::placed_us(facts, own.lo, own.hi, sms) / facts.duration_us[own.size() - 1];
  }
  return kinds[kKinds - 1] = Learned(plan, apart);
}

void Learning::forget() {
  for (auto& kinds : learned_) std::ranges::fill(kinds, Learned{});
}

}  // namespace fico::sched
