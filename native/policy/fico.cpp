// fico: whoever is behind its slice first, then the shortest rest of a request; every kernel on
// what it can use, and never on all units while somebody else has work.
//
// Idea: alone, everything at once. Beside others, each work gets a place in one order, which
// becomes its priority, and a size. Critical kernels gain from units, so their right size is nearly
// everything; kernels that gain nothing leave their units to somebody's critical kernel. A unit is
// kept free of each, so that the next in the order is already running when room comes free. Where
// the profile says that a free range does as well as waiting for a wider one, the range is claimed.
// Source: Chen and Qiu, Optimizing Concurrent Inferences with Fine-grained GPU Sharing (poster);
// docs/policy.md has the model, the promise and where it can fail.
// Settings: slowdown_percent, reserve_units, grace_percent, reclaim_percent, split, classes,
// alone_span_us.
// Limits: a work on the device is never taken back, so a tenant waits up to one segment of others.
#include "policy/builtin.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Fico final : public Policy {
 public:
  struct Settings {
    double slowdown_percent = 5;
    int reserve_units = 1;
    double grace_percent = 0;
    double reclaim_percent = 16;
    bool split = true;
    bool classes = false;
    double alone_span_us = 500;
  };
  static constexpr std::tuple kFields{
      Field{"slowdown_percent", &Settings::slowdown_percent, 0.0, 100.0,
            "How much slower than on all units a kernel may be on its right size."},
      Field{"reserve_units", &Settings::reserve_units, 0.0, 63.0,
            "Units that no kernel takes while another tenant is in a request."},
      Field{"grace_percent", &Settings::grace_percent, 0.0, 1000.0,
            "How far behind its slice a tenant may be, of a request there, before it goes first."},
      Field{"reclaim_percent", &Settings::reclaim_percent, 0.0, 1e6,
            "How far behind it may be before others stay off its slice."},
      flag("split", &Settings::split,
           "Claim a free range where it is predicted to be no slower than sharing a wider one."),
      flag("classes", &Settings::classes,
           "Insensitive kernels go last and neutral ones get at most their quota."),
      Field{"alone_span_us", &Settings::alone_span_us, 0.0, 1e9,
            "How much of a graph goes out in one piece while no other tenant has a request."}};
  explicit Fico(Settings settings) : settings_(settings) {}

  Grant decide(const View& view) const noexcept override {
    const Row& own = view.own();
    const bool late = behind(view, own, settings_.grace_percent);
    const bool far = behind(view, own, settings_.reclaim_percent);
    std::uint32_t rivals = 0;
    std::uint32_t rank = 0;
    std::uint64_t reclaimed = 0;  // slices of tenants that are far behind
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (!view.rival(slot)) continue;
      ++rivals;
      rank += goes_before(view, slot, late) ? 1U : 0U;
      if (behind(view, view.rows[slot], settings_.reclaim_percent)) {
        reclaimed |= view.members[slot].own.mask();
      }
    }
    if (rivals == 0) return {.units = view.all(), .span_us = settings_.alone_span_us};
    const Units allowed = grown(view.slice(), reclaimed & ~view.slice().mask(), view.unit_count);
    const profile::Kernel& kernel = view.kernel();
    const auto kept =
        std::min(static_cast<std::uint32_t>(settings_.reserve_units), view.unit_count - 1);
    std::uint32_t size =
        std::min(right_size(kernel, view.unit_count, settings_.slowdown_percent / 100),
                 view.unit_count - kept);
    // What it owns is not too much for a tenant that is far behind.
    if (far) size = std::max(size, view.slice().size());
    size = std::min(size, allowed.size());
    auto level = static_cast<std::int8_t>(kLevelFirst + static_cast<int>(std::min(rank, 5U)));
    if (settings_.classes && !late) {
      if (kernel.kernel_class == profile::Class::kInsensitive) level = kLevelLast;
      if (kernel.kernel_class == profile::Class::kNeutral) {
        size = std::min(size, std::max(view.slice().size(), 1U));
      }
    }
    const Units shared = least_loaded(view, allowed, size, view.slice());
    Grant grant{.level = level, .units = shared};
    const Units free = longest_free(allowed, granted_to_others(view));
    if (free.size() >= size) {
      grant.exclusive = true;
      grant.units = shrunk(free, size, view.slice());
    } else if (settings_.split && free.size() > 0 &&
               kernel.duration_us[free.size() - 1] <= shared_us(view, shared, level)) {
      grant.exclusive = true;
      grant.units = free;
    }
    // Others stay off the slice of a tenant that is far behind: there it need not ask as often.
    if (far && grant.units == view.slice()) grant.span_us = settings_.alone_span_us;
    return grant;
  }

 private:
  // On its own slice from now on it would end its request later than it was due, by more than
  // `percent` of what the whole request takes there.
  static bool behind(const View& view, const Row& row, double percent) noexcept {
    const double grace_us = (row.due_us - row.begin_us) * percent / 100;
    return view.now_us + row.remaining_own_us > row.due_us + grace_us;
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

  static std::uint64_t granted_to_others(const View& view) noexcept {
    std::uint64_t mask = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot != view.self) mask |= view.rows[slot].units.mask();
    }
    return mask;
  }

  // How long the work is predicted to take on units that others run on: until those that go first
  // have left them, but not longer than if it got no unit before.
  static double shared_us(const View& view, Units units, std::int8_t level) noexcept {
    double wait_us = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      const Row& row = view.rows[slot];
      if (slot == view.self || row.phase != Phase::kGranted || row.level > level) continue;
      const std::uint32_t lo = std::max(units.lo, row.units.lo);
      const std::uint32_t hi = std::min(units.hi, row.units.hi);
      if (lo >= hi) continue;
      const double left_us = std::max(0.0, row.since_us + row.in_flight_us - view.now_us);
      wait_us += left_us * (hi - lo) / units.size();
    }
    return view.kernel().duration_us[std::max(1U, units.size()) - 1] + wait_us;
  }

  Settings settings_;
};

}  // namespace

PolicyInfo fico() {
  return describe<Fico>("fico", "who is behind first, each kernel on what it can use");
}

}  // namespace fico::policy
