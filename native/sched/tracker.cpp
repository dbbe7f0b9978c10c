#include "sched/tracker.hpp"

#include <algorithm>

namespace fico::sched {

Tracker::Tracker(const profile::Table& table)
    : launches_(table.launches()), traces_(table.traces()) {
  places_.reserve(launches_.size());
  for (std::uint32_t i = 0; i < launches_.size(); ++i) {
    places_.push_back({launches_[i].signature, i});
  }
  std::ranges::sort(places_, [](const Place& a, const Place& b) {
    return a.signature != b.signature ? a.signature < b.signature : a.launch < b.launch;
  });
}

Tracker::Step Tracker::launched(std::uint64_t signature) {
  if (expected_ != kNone && launches_[expected_].signature == signature) {
    remember(signature);
    return stand_at(expected_, trace_, false);
  }
  const std::uint32_t place = best_place(signature);
  // What is not in the profile may come between: the next launch is expected as before.
  if (place == kNone) return {};
  const std::uint32_t trace = trace_of(place);
  const bool begins = traces_[trace].first == place;
  remember(signature);
  return stand_at(place, trace, !(begins && expected_ == kNone));
}

void Tracker::launched_whole(std::uint32_t trace) {
  const profile::TableTrace& range = traces_[trace];
  const std::uint32_t from = range.last - std::min(range.last - range.first, kMemory);
  for (std::uint32_t i = from; i < range.last; ++i) remember(launches_[i].signature);
  expected_ = kNone;
}

std::uint32_t Tracker::trace_of(std::uint32_t launch) const {
  const auto after = std::ranges::upper_bound(traces_, launch, {}, &profile::TableTrace::first);
  return static_cast<std::uint32_t>(after - traces_.begin()) - 1;
}

std::optional<std::uint32_t> Tracker::trace_of_graph(
    std::span<const std::uint64_t> signatures) const {
  std::optional<std::uint32_t> found;
  for (std::uint32_t trace = 0; trace < traces_.size(); ++trace) {
    const profile::TableTrace& range = traces_[trace];
    const auto launches = launches_.subspan(range.first, range.last - range.first);
    if (!std::ranges::equal(launches, signatures, {}, &profile::TableLaunch::signature)) continue;
    if (range.from_graph != 0) return trace;
    if (!found) found = trace;
  }
  return found;
}

// Of all launches with this signature the first of a request, if one is due, of one that was
// profiled launch by launch before one that was a graph. Else the one before which the most of what
// came last stands too; of equal ones the next after where the program was thought to be.
std::uint32_t Tracker::best_place(std::uint64_t signature) const {
  std::uint32_t best = kNone;
  std::uint32_t best_likeness = 0;
  std::uint32_t first_of_graph = kNone;
  auto at = std::ranges::lower_bound(places_, signature, {}, &Place::signature);
  for (; at != places_.end() && at->signature == signature; ++at) {
    const profile::TableTrace& trace = traces_[trace_of(at->launch)];
    if (expected_ == kNone && trace.first == at->launch) {
      if (trace.from_graph == 0) return at->launch;
      if (first_of_graph == kNone) first_of_graph = at->launch;
    }
    if (first_of_graph != kNone) continue;
    const std::uint32_t found = likeness(at->launch);
    const bool is_next = expected_ != kNone && best < expected_ && at->launch >= expected_;
    if (best == kNone || found > best_likeness || (found == best_likeness && is_next)) {
      best = at->launch;
      best_likeness = found;
    }
  }
  return first_of_graph != kNone ? first_of_graph : best;
}

// How many launches before this one are those that came last.
std::uint32_t Tracker::likeness(std::uint32_t launch) const {
  const std::uint32_t first = traces_[trace_of(launch)].first;
  const auto most =
      static_cast<std::uint32_t>(std::min<std::uint64_t>({launch - first, kMemory, remembered_}));
  std::uint32_t same = 0;
  while (same < most &&
         memory_[(remembered_ - 1 - same) % kMemory] == launches_[launch - 1 - same].signature) {
    ++same;
  }
  return same;
}

void Tracker::remember(std::uint64_t signature) {
  memory_[remembered_ % kMemory] = signature;
  ++remembered_;
}

Tracker::Step Tracker::stand_at(std::uint32_t launch, std::uint32_t trace, bool resynced) {
  const bool completes = launch + 1 == traces_[trace].last;
  expected_ = completes ? kNone : launch + 1;
  trace_ = trace;
  return {launch, trace, resynced, completes};
}

}  // namespace fico::sched
