// Who is in a request, and what part of the GPU each of them could have.
#pragma once

#include <algorithm>
#include <bit>

#include "policy/view.hpp"

namespace fico::policy {

constexpr std::uint64_t bit(std::uint32_t slot) { return std::uint64_t{1} << slot; }
static_assert(kMaxTenants <= 64, "sets of tenants are bits of a word");

inline bool in_request(const View& view, std::uint32_t slot) {
  return view.rows[slot].phase != Phase::kIdle;
}

// Tenants other than self that are there or have work on the device.
inline bool has_neighbours(const View& view) {
  for (std::uint32_t slot = 0; slot < view.count; ++slot) {
    if (view.rival(slot) || (slot != view.self && view.members[slot].present)) return true;
  }
  return false;
}

// Units that tenants own together.
inline std::uint32_t owned_by(const View& view, std::uint64_t slots) {
  std::uint32_t owned = 0;
  for (; slots != 0; slots &= slots - 1) {
    owned += view.members[std::countr_zero(slots)].own.size();
  }
  return owned;
}

// The part of one of those who share the GPU, in proportion to their slices: at least its slice.
// `before` units are owned by those at lower slots, `owned` by all of them.
inline Units part_of(const View& view, std::uint32_t slot, std::uint32_t before,
                     std::uint32_t owned) {
  owned = std::max(owned, 1U);
  const std::uint32_t last = before + view.members[slot].own.size();
  return {static_cast<std::uint16_t>(before * view.unit_count / owned),
          static_cast<std::uint16_t>(last * view.unit_count / owned)};
}

// The longest mean kernels, on all units, of those in a request.
struct LongKernels {
  double longest_us = 0;
  double second_us = 0;
  std::uint32_t slot = 0;  // whose are the longest

  void add(double mean_us, std::uint32_t whose) {
    if (mean_us > longest_us) {
      *this = {mean_us, longest_us, whose};
    } else {
      second_us = std::max(second_us, mean_us);
    }
  }
  double of_others_us(std::uint32_t self) const { return self == slot ? second_us : longest_us; }
};

// Those in a request, gathered in one pass.
struct Active {
  std::uint64_t slots = 0;
  std::uint32_t owned = 0;  // units of their slices together
  std::uint32_t first = 0;  // whose request has the least left
  bool all_follow = true;   // all began as soon as the ones before had ended, as in closed loops
  LongKernels kernels;
};

inline Active active_in(const View& view) {
  Active found;
  found.first = view.self;
  for (std::uint32_t slot = 0; slot < view.count; ++slot) {
    if (!in_request(view, slot)) continue;
    const Row& row = view.rows[slot];
    found.slots |= bit(slot);
    found.owned += view.members[slot].own.size();
    found.all_follow = found.all_follow && row.follows;
    const float least_us = view.rows[found.first].remaining_us;
    const bool as_short = row.remaining_us == least_us && slot < found.first;
    if (row.remaining_us < least_us || as_short) found.first = slot;
    if (const Request* request = view.request[slot]) {
      const double all_us = request->facts.duration_us[view.unit_count - 1];
      found.kernels.add(all_us / std::max(1U, request->kernels), slot);
    }
  }
  return found;
}

// Whether parts promise more work a second to those in a request than sharing all units: of the
// rates on parts, of a request alone, sharing reaches what goes beyond one only to
// `overlap_percent`. Only work a second counts where each request follows the one before; else the
// order that sharing has is worth more. Also where a tenant's short kernels are worse off among
// long ones, even if they go first; what it learned on parts does not count there, or it would
// leave its part for good because of a neighbour that is as bad elsewhere. And where sharing has
// made somebody later than its slice would. `settings`: overlap_percent, wait_us.
template <typename Settings>
bool parts_are_faster(const View& view, const Active& active, const Settings& settings) {
  std::uint32_t before = 0;
  double rates = 0;
  double beside = 0;
  for (std::uint64_t slots = active.slots; slots != 0; slots &= slots - 1) {
    const auto slot = static_cast<std::uint32_t>(std::countr_zero(slots));
    const Units units = part_of(view, slot, before, active.owned);
    before += view.members[slot].own.size();
    if (view.request[slot] == nullptr || units.size() == 0) return false;
    const auto& duration_us = view.request[slot]->facts.duration_us;
    const double all_us = duration_us[view.unit_count - 1];
    const double part_us = duration_us[units.size() - 1];
    const double rate = all_us / part_us;
    const double wait_us = std::min(settings.wait_us, active.kernels.of_others_us(slot) / 2);
    const double first_us = all_us + wait_us * view.request[slot]->kernels;
    const Row& row = view.rows[slot];
    const bool crowded = active.all_follow ? row.crowded_loop : row.crowded;
    if (crowded || first_us > part_us * row.stretch) return true;
    rates += rate;
    beside += rate / (row.stretch * row.learned);
  }
  const double shared = 1 + (rates - 1) * settings.overlap_percent / 100;
  return active.all_follow && beside > shared;
}

}  // namespace fico::policy
