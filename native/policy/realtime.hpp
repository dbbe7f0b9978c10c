// Real-time and best-effort tenants, for the policies that know one client that matters.
#pragma once

#include "policy/view.hpp"

namespace fico::policy {

// The tenant whose priority is the most urgent; the first of equal ones.
inline std::uint32_t most_urgent(const View& view) {
  std::uint32_t best = view.count;
  for (std::uint32_t slot = 0; slot < view.count; ++slot) {
    if (!view.members[slot].present) continue;
    if (best == view.count || view.members[slot].priority < view.members[best].priority) {
      best = slot;
    }
  }
  return best;
}

// SMs' worth of units that the blocks of a kernel fill, at most all.
inline std::uint32_t filled_units(const profile::Kernel& kernel, std::uint32_t unit_count,
                                  double sms_per_unit) {
  const double sms = static_cast<double>(kernel.blocks) / kernel.blocks_per_sm;
  const double units = sms / sms_per_unit;
  if (units >= unit_count) return unit_count;
  const auto whole = static_cast<std::uint32_t>(units);
  return whole < units ? whole + 1 : (whole > 0 ? whole : 1);
}

}  // namespace fico::policy
