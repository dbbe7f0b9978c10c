// fico: whoever is behind its slice first, then the shortest rest of a request; all units to all of
// them, or a part to each where the profiles say that parts are faster.
//
// Idea: alone, everything. Beside others there are two ways to share. In order: everybody on all
// units, with a priority by place in the order; where one request fills the GPU, the first of two
// ends in half the time and the second no later. Split: each on a part of its own; where a request
// cannot fill the GPU, all of them lose little on a part, and nobody waits for the blocks of
// others. The way that promises more is kept for as long as the same tenants are in a request.
// Source: Chen and Qiu, Optimizing Concurrent Inferences with Fine-grained GPU Sharing (poster);
// docs/policy.md has the model, the promise and where it can fail.
// Settings: span_us, span_percent, overlap_percent, gain_percent, wait_us, grace_percent,
// reclaim_percent, order, split.
// Limits: a work on the device is never taken back, so a tenant waits up to one piece of others.
#include "policy/builtin.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

// Of a tenant that is alone, or the first in the order: a tenant that comes can go before it.
constexpr std::int8_t kLevelAlone = kLevelFirst + 2;

class Fico final : public Policy {
 public:
  struct Settings {
    double span_us = 250;
    double span_percent = 15;
    double overlap_percent = 50;
    double gain_percent = 6;
    double wait_us = 4;
    double grace_percent = 20;
    double reclaim_percent = 30;
    bool order = true;
    bool split = true;
  };
  static constexpr std::tuple kFields{
      Field{"span_us", &Settings::span_us, 0.0, 1e9,
            "How much of a graph goes out in one piece at most (alone on all units)."},
      Field{"span_percent", &Settings::span_percent, 0.0, 1e6,
            "The same, of a request of another tenant, which may come meanwhile."},
      Field{"overlap_percent", &Settings::overlap_percent, 0.0, 100.0,
            "How much of what parts of their own would gain requests find by sharing all units."},
      Field{"gain_percent", &Settings::gain_percent, 0.0, 1000.0,
            "How much faster than sharing parts have to be."},
      Field{
          "wait_us", &Settings::wait_us, 0.0, 1e6,
          "How long a kernel waits for room, although it goes first, where all units are shared."},
      Field{"grace_percent", &Settings::grace_percent, 0.0, 1000.0,
            "How far behind its slice a tenant may be, of a request there, before it goes first."},
      Field{"reclaim_percent", &Settings::reclaim_percent, 0.0, 1e6,
            "How far behind it may be before others stay off its slice."},
      flag("order", &Settings::order, "Priority by place in the order."),
      flag("split", &Settings::split, "Parts where they are faster.")};
  explicit Fico(Settings settings) : settings_(settings) {}

  Grant decide(const View& view) const noexcept override {
    Grant grant{.level = kLevelAlone, .units = view.all(), .span_us = span_us(view, false)};
    const std::uint64_t closed = closed_slices(view);
    const Units open = grown(view.slice(), closed & ~view.slice().mask(), view.unit_count);
    if (!view.contended()) {
      grant.units = open;
      return grant;
    }
    if (settings_.split && splits(view)) {
      grant.units = part(view, view.self);
      if ((grant.units.mask() & closed) != 0) grant.units = view.slice();
      grant.exclusive = true;
      grant.level = kLevelFirst;
      grant.span_us = span_us(view, true);
      return grant;
    }
    if (settings_.order) grant.level = level(view);
    if (behind(view, view.own(), settings_.reclaim_percent)) {
      grant.units = view.slice();
      grant.exclusive = true;
    } else {
      grant.units = open;
    }
    return grant;
  }

 private:
  // On its own slice from now on it would end its request later than it was due, by more than
  // `percent` of what the whole request takes there.
  static bool behind(const View& view, const Row& row, double percent) noexcept {
    const double grace_us = (row.due_us - row.begin_us) * percent / 100;
    return view.now_us + row.remaining_own_us > row.due_us + grace_us;
  }

  // Slices of other tenants that are far behind.
  std::uint64_t closed_slices(const View& view) const noexcept {
    std::uint64_t closed = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (view.rival(slot) && behind(view, view.rows[slot], settings_.reclaim_percent)) {
        closed |= view.members[slot].own.mask();
      }
    }
    return closed;
  }

  // A tenant that comes does not wait for long, of its own request. On parts, those that are there
  // wait for nothing.
  double span_us(const View& view, bool parts) const noexcept {
    double span_us = settings_.span_us;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot == view.self || !view.members[slot].present) continue;
      if (parts && in_request(view, slot)) continue;
      const double request_us = view.rows[slot].request_us;
      if (request_us > 0) span_us = std::min(span_us, request_us * settings_.span_percent / 100);
    }
    return span_us;
  }

  // Late ones by when they were due, then the others by what is left; the older of equal ones.
  bool goes_before(const View& view, std::uint32_t slot, bool self_late) const noexcept {
    const Row& other = view.rows[slot];
    const Row& own = view.own();
    const bool other_late = behind(view, other, settings_.grace_percent);
    if (other_late != self_late) return other_late;
    if (self_late) {
      if (other.due_us != own.due_us) return other.due_us < own.due_us;
    } else if (other.remaining_us != own.remaining_us) {
      return other.remaining_us < own.remaining_us;
    }
    if (other.begin_us != own.begin_us) return other.begin_us < own.begin_us;
    return slot < view.self;
  }

  // The place in the order, and between what those before and after it were granted.
  std::int8_t level(const View& view) const noexcept {
    const bool late = behind(view, view.own(), settings_.grace_percent);
    int rank = 0;
    std::int8_t lowest = kLevelFirst;
    std::int8_t highest = kLevelLast;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (!view.rival(slot)) continue;
      const Row& row = view.rows[slot];
      const bool before = goes_before(view, slot, late);
      rank += before ? 1 : 0;
      if (row.phase != Phase::kGranted) continue;
      if (before) {
        lowest = static_cast<std::int8_t>(std::max<int>(lowest, row.level + 1));
      } else {
        highest = static_cast<std::int8_t>(std::min<int>(highest, row.level - 1));
      }
    }
    const int place = std::max<int>(std::min<int>(kLevelAlone + rank, highest), lowest);
    return static_cast<std::int8_t>(std::clamp<int>(place, kLevelFirst, kLevelLast));
  }

  // The GPU among those in a request, in proportion to their slices: at least these.
  static Units part(const View& view, std::uint32_t self) noexcept {
    std::uint32_t owned = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (in_request(view, slot)) owned += view.members[slot].own.size();
    }
    std::uint32_t before = 0;
    for (std::uint32_t slot = 0; slot < self; ++slot) {
      if (in_request(view, slot)) before += view.members[slot].own.size();
    }
    const std::uint32_t own = view.members[self].own.size();
    owned = std::max(owned, 1U);
    const auto lo = static_cast<std::uint16_t>(before * view.unit_count / owned);
    const auto hi = static_cast<std::uint16_t>((before + own) * view.unit_count / owned);
    return {lo, hi};
  }

  static bool in_request(const View& view, std::uint32_t slot) noexcept {
    return view.rows[slot].phase != Phase::kIdle;
  }

  // Whether parts promise more work a second than sharing all units: of the rates on parts, of a
  // request alone, sharing reaches what goes beyond one only to `overlap_percent`.
  bool splits(const View& view) const noexcept {
    double rates = 0;
    double beside = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (!in_request(view, slot)) continue;
      const Units units = part(view, slot);
      if (view.request[slot] == nullptr || units.size() == 0) return false;
      const auto& duration_us = view.request[slot]->facts.duration_us;
      const double all_us = duration_us[view.unit_count - 1];
      const double part_us = duration_us[units.size() - 1];
      const double rate = all_us / part_us;
      // Short kernels that are worse off among long ones, even if they go first.
      const double wait_us = std::min(settings_.wait_us, longest_kernel_us(view, slot) / 2);
      const double first_us = all_us + wait_us * view.request[slot]->kernels;
      if (first_us > part_us * view.rows[slot].stretch) return true;
      rates += rate;
      beside += rate / view.rows[slot].stretch;
    }
    const double shared = 1 + (rates - 1) * settings_.overlap_percent / 100;
    return beside > shared * (1 + settings_.gain_percent / 100);
  }

  // The mean kernel, on all units, of the other tenant in a request whose kernels are longest.
  static double longest_kernel_us(const View& view, std::uint32_t self) noexcept {
    double longest_us = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot == self || !in_request(view, slot) || view.request[slot] == nullptr) continue;
      const Request& request = *view.request[slot];
      const double all_us = request.facts.duration_us[view.unit_count - 1];
      longest_us = std::max(longest_us, all_us / std::max(1U, request.kernels));
    }
    return longest_us;
  }

  Settings settings_;
};

}  // namespace

PolicyInfo fico() {
  return describe<Fico>("fico", "who is behind first, on all units or on parts");
}

}  // namespace fico::policy
