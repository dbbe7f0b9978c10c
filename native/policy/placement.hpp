// Where on the GPU: contiguous ranges among what others have.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>

#include "policy/view.hpp"

namespace fico::policy {

// Units that tenants other than self claim now.
inline std::uint64_t claimed_by_others(const View& view) {
  std::uint64_t mask = 0;
  for (std::uint32_t slot = 0; slot < view.count; ++slot) {
    const Row& row = view.rows[slot];
    if (slot != view.self && row.exclusive) mask |= row.units.mask();
  }
  return mask;
}

// The longest run of units within `range` that are not in `taken`, the lowest of equal ones.
constexpr Units longest_free(Units range, std::uint64_t taken) {
  Units best;
  for (std::uint16_t lo = range.lo; lo < range.hi;) {
    if ((taken >> lo) & 1U) {
      ++lo;
      continue;
    }
    std::uint16_t hi = lo;
    while (hi < range.hi && !((taken >> hi) & 1U)) ++hi;
    if (hi - lo > static_cast<int>(best.size())) best = {lo, hi};
    lo = hi;
  }
  return best;
}

// The longest run of units not in `taken` that contains or touches `home`'s free part: `home`
// itself cut to its longest free run, grown to both sides.
constexpr Units grown(Units home, std::uint64_t taken, std::uint32_t unit_count) {
  Units units = longest_free(home, taken);
  if (units.size() == 0) return units;
  while (units.lo > 0 && !((taken >> (units.lo - 1)) & 1U)) --units.lo;
  while (units.hi < unit_count && !((taken >> units.hi) & 1U)) ++units.hi;
  return units;
}

// At most `size` units of a range, those of `home` before others.
constexpr Units shrunk(Units units, std::uint32_t size, Units home) {
  if (units.size() <= size) return units;
  const std::uint32_t last_lo = units.hi - size;
  const std::uint32_t lo = std::clamp<std::uint32_t>(home.lo, units.lo, last_lo);
  return {static_cast<std::uint16_t>(lo), static_cast<std::uint16_t>(lo + size)};
}

// The fewest units on which a kernel is at most `slowdown` slower than on all of them.
inline std::uint32_t right_size(const profile::Kernel& kernel, std::uint32_t unit_count,
                                double slowdown) {
  const double limit_us = kernel.duration_us[unit_count - 1] * (1 + slowdown);
  std::uint32_t size = unit_count;
  while (size > 1 && kernel.duration_us[size - 2] <= limit_us) --size;
  return size;
}

// The `size` units in a row within `range` on which the other tenants have the least granted; of
// equal places the one that is nearest to `home`.
inline Units least_loaded(const View& view, Units range, std::uint32_t size, Units home) {
  std::uint16_t load[profile::kMaxUnits] = {};
  for (std::uint32_t slot = 0; slot < view.count; ++slot) {
    const Row& row = view.rows[slot];
    if (slot == view.self) continue;
    for (std::uint32_t unit = row.units.lo; unit < row.units.hi; ++unit) ++load[unit];
  }
  size = std::clamp(size, 1U, range.size());
  std::uint32_t sum = 0;
  for (std::uint32_t unit = range.lo; unit < range.lo + size; ++unit) sum += load[unit];
  std::uint32_t best = ~0U;
  std::uint32_t best_distance = ~0U;
  std::uint32_t best_lo = range.lo;
  for (std::uint32_t lo = range.lo; lo + size <= range.hi; ++lo) {
    const std::uint32_t distance = lo > home.lo ? lo - home.lo : home.lo - lo;
    if (sum < best || (sum == best && distance < best_distance)) {
      best = sum;
      best_distance = distance;
      best_lo = lo;
    }
    if (lo + size < range.hi) sum += load[lo + size] - load[lo];
  }
  return {static_cast<std::uint16_t>(best_lo), static_cast<std::uint16_t>(best_lo + size)};
}

}  // namespace fico::policy
