// The order of requests that share all units, and a priority for each place in it.
#pragma once

#include <algorithm>

#include "policy/view.hpp"

namespace fico::policy {

// How long the whole request of a tenant takes on its own slice, beside those that are there.
inline double slice_us(const View& view, std::uint32_t slot) {
  const Row& row = view.rows[slot];
  if (view.request[slot] == nullptr) return row.due_us - row.begin_us;
  const std::uint32_t own = std::max(1U, view.members[slot].own.size());
  return view.request[slot]->facts.duration_us[own - 1] * row.stretch * row.learned;
}

// By when a request is to be done: after `part` of its time on the slice, a little before that
// would have done it, since those who go before leave some room, but no GPU of its own. Neither
// debt nor credit counts: who is owed a little would pass another, who would be owed more, and so
// on for ever.
inline double target_us(const View& view, std::uint32_t slot, double part) {
  return view.rows[slot].begin_us + slice_us(view, slot) * part;
}

// Whether a tenant goes before one's own request, whose target is `own_us`. The older of equal
// ones, so that all see the same order.
inline bool goes_before(const View& view, std::uint32_t slot, double part, double own_us) {
  const double other_us = target_us(view, slot, part);
  if (other_us != own_us) return other_us < own_us;
  const double other_begin_us = view.rows[slot].begin_us;
  if (other_begin_us != view.own().begin_us) return other_begin_us < view.own().begin_us;
  return slot < view.self;
}

// The priority of one's place in the order, `first` for the first, and between those that were
// granted to who comes before and after. There are few: the last of many may have the same.
inline std::int8_t place(const View& view, std::int8_t first, double part) {
  const double own_us = target_us(view, view.self, part);
  int rank = 0;
  std::int8_t lowest = kLevelFirst;
  std::int8_t highest = kLevelLast;
  for (std::uint32_t slot = 0; slot < view.count; ++slot) {
    if (!view.rival(slot)) continue;
    const Row& row = view.rows[slot];
    const bool before = goes_before(view, slot, part, own_us);
    rank += before ? 1 : 0;
    if (row.phase != Phase::kGranted) continue;
    if (before) {
      lowest = static_cast<std::int8_t>(std::max<int>(lowest, row.level + 1));
    } else {
      highest = static_cast<std::int8_t>(std::min<int>(highest, row.level - 1));
    }
  }
  const int level = std::max<int>(std::min<int>(first + rank, highest), lowest);
  return static_cast<std::int8_t>(std::clamp<int>(level, kLevelFirst, kLevelLast));
}

}  // namespace fico::policy
