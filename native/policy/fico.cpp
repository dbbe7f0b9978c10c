// fico: whose slice would end its request first goes first, on all units; or a part to each, where
// the profiles say that parts are faster.
//
// Idea: alone, everything. Beside others there are two ways to share. In order: everybody on all
// units, with a priority by place in the order; where one request fills the GPU, the first of two
// ends in half the time and the second no later. Split: each on a part of its own; where a request
// cannot fill the GPU, all of them lose little on a part, and nobody waits for the blocks of
// others. Parts it is where requests follow each other and parts promise more work a second, or
// where short kernels would wait among long ones. There, those whom their slices leave the time let
// a much shorter request go alone.
// Source: Chen and Qiu, Optimizing Concurrent Inferences with Fine-grained GPU Sharing (poster);
// docs/policy.md has the model, the promise and where it can fail.
// Settings: span_us, parts_span_us, span_percent, overlap_percent, wait_us, target_percent,
// reclaim_percent, credit_percent, late_percent, linger_us, first_us, order, split.
// Limits: a work on the device is never taken back, so a tenant waits up to one piece of others.
// Without a profile of everybody in a request all units are shared in order.
#include "policy/builtin.hpp"
#include "policy/order.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"
#include "policy/sharers.hpp"

namespace fico::policy {
namespace {

// Of the first in the order, also where nobody else is in a request: who comes can go before it.
constexpr std::int8_t kLevelHead = kLevelFirst + 1;
// A request that others wait for is so much shorter than theirs.
constexpr double kMuchShorter = 1.5;

class Fico final : public Policy {
 public:
  struct Settings {
    double span_us = 250;
    double parts_span_us = 500;
    double span_percent = 15;
    double overlap_percent = 60;
    double wait_us = 6;
    double target_percent = 90;
    double reclaim_percent = 100;
    double credit_percent = 50;
    double late_percent = 5;
    double linger_us = 150;
    double first_us = 50;
    bool order = true;
    bool split = true;
  };
  static constexpr std::tuple kFields{
      Field{"span_us", &Settings::span_us, 0.0, 1e9,
            "How much of a graph goes out in one piece at most (alone on all units)."},
      Field{"parts_span_us", &Settings::parts_span_us, 0.0, 1e9,
            "The same, on parts beside closed loops."},
      Field{"span_percent", &Settings::span_percent, 0.0, 1e6,
            "The same, of a request of another tenant, which may come meanwhile."},
      Field{"overlap_percent", &Settings::overlap_percent, 0.0, 100.0,
            "How much of what parts of their own would gain requests find by sharing all units."},
      Field{
          "wait_us", &Settings::wait_us, 0.0, 1e6,
          "How long a kernel waits for room, although it goes first, where all units are shared."},
      Field{"target_percent", &Settings::target_percent, 0.0, 1000.0,
            "By how much of the time on its slice a request should be done, where all units are "
            "shared."},
      Field{"reclaim_percent", &Settings::reclaim_percent, 0.0, 1e6,
            "How far behind its slice a tenant may be, of a request there, before others stay off "
            "it."},
      Field{"credit_percent", &Settings::credit_percent, 0.0, 1000.0,
            "How far ahead of its slice a tenant may begin a request that others wait for."},
      Field{"late_percent", &Settings::late_percent, -100.0, 1000.0,
            "How much longer than on its slice a request may become by waiting."},
      Field{"linger_us", &Settings::linger_us, 0.0, 1e6,
            "How long the part of a tenant that has ended a request is left free for the next."},
      Field{"first_us", &Settings::first_us, 0.0, 1e6,
            "How long the first piece is of who has let a request go first that has just ended."},
      flag("order", &Settings::order, "Priority by place in the order."),
      flag("split", &Settings::split, "Parts where they are faster.")};
  explicit Fico(Settings settings) : settings_(settings) {}

  Grant decide(const View& view) const noexcept override {
    if (!has_neighbours(view)) return {.units = view.all(), .span_us = kForever_us};
    const std::uint64_t closed = closed_slices(view);
    const Units open = grown(view.slice(), closed & ~view.slice().mask(), view.unit_count);
    Grant grant{.level = kLevelHead, .units = open};
    const Active active = active_in(view);
    std::uint64_t sharers = 0;
    if ((active.slots & ~bit(view.self)) == 0) {
      sharers = lingering(view);
      grant.span_us = span_us(view, false);
      if (has_waited(view)) grant.span_us = std::min(grant.span_us, settings_.first_us);
      if (sharers == 0) return grant;
      grant.span_us = std::min(grant.span_us, settings_.linger_us);
    } else if (settings_.split && parts_are_faster(view, active, settings_)) {
      const double until_us = alone_until_us(view, active.first);
      if (until_us > view.now_us && active.first != view.self) return Grant::hold(until_us);
      grant.level = kLevelFirst;
      grant.span_us = span_us(view, true);
      if (until_us > view.now_us) return grant;
      sharers = active.slots | lingering(view);
    }
    if (sharers != 0) {
      grant.units = part(view, sharers | bit(view.self));
      if ((grant.units.mask() & closed) != 0) grant.units = view.slice();
      grant.exclusive = true;
      grant.level = kLevelFirst;
      grant.mark_us = view.now_us;
      return grant;
    }
    grant.span_us = span_us(view, false);
    if (settings_.order) grant.level = place(view, kLevelHead, settings_.target_percent / 100);
    if (far_behind(view, view.self)) {
      grant.units = view.slice();
      grant.exclusive = true;
    }
    return grant;
  }

 private:
  // On its own slice from now on it would end its request much later than if it had been there from
  // the begin. What it owes or is owed is left out: who waits in an order of equal requests has all
  // of its own left until late, and goes fast then.
  bool far_behind(const View& view, std::uint32_t slot) const noexcept {
    const Row& row = view.rows[slot];
    const double most_us = slice_us(view, slot) * (1 + settings_.reclaim_percent / 100);
    return view.now_us + row.remaining_own_us > row.begin_us + most_us;
  }

  // Slices of other tenants that are far behind.
  std::uint64_t closed_slices(const View& view) const noexcept {
    std::uint64_t closed = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (view.rival(slot) && far_behind(view, slot)) {
        closed |= view.members[slot].own.mask();
      }
    }
    return closed;
  }

  // A tenant that comes does not wait for long, of its own request. On parts, those that are there
  // wait for nothing, and closed loops are there all the time.
  double span_us(const View& view, bool parts) const noexcept {
    double span_us = parts ? settings_.parts_span_us : settings_.span_us;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot == view.self || !view.members[slot].present) continue;
      if (parts && in_request(view, slot) && view.rows[slot].follows) continue;
      span_us = std::min(span_us, settings_.span_us);
      if (parts && in_request(view, slot)) continue;
      const double request_us = view.rows[slot].request_us;
      if (request_us > 0) span_us = std::min(span_us, request_us * settings_.span_percent / 100);
    }
    return span_us;
  }

  // Beside a part of its own, tenants whose requests have just ended: a closed loop is back soon.
  std::uint64_t lingering(const View& view) const noexcept {
    std::uint64_t slots = 0;
    for (std::uint32_t slot = 0; view.own().mark_us > 0 && slot < view.count; ++slot) {
      if (slot == view.self || !view.members[slot].present || !view.rows[slot].follows) continue;
      const double ended_us = view.rows[slot].since_us;
      if (view.now_us < ended_us + settings_.linger_us) slots |= bit(slot);
    }
    return slots;
  }

  // Whether it let a request go first that has just ended. The next one may wait in the program
  // already, and finds only a short piece then.
  bool has_waited(const View& view) const noexcept {
    const Row& own = view.own();
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot == view.self || !view.members[slot].present) continue;
      const double ended_us = view.rows[slot].since_us;
      if (own.since_us < ended_us && view.now_us < ended_us + settings_.first_us) return true;
    }
    return false;
  }

  // How long a tenant lets the first request go alone: as long as it can still end by when it is
  // due, and its request is hardly longer than on its slice; and only for a tenant that is not
  // ahead itself, nor hopelessly behind.
  double waits_until_us(const View& view, std::uint32_t slot, std::uint32_t first) const noexcept {
    const Row& row = view.rows[slot];
    const Row& other = view.rows[first];
    if (view.request[first] == nullptr) return 0;
    if (other.request_us * kMuchShorter > row.request_us) return 0;
    const double given_us = other.due_us - other.begin_us;
    if (given_us > slice_us(view, first) * (1 + settings_.credit_percent / 100)) return 0;
    const double end_us = std::min(
        row.due_us, row.begin_us + slice_us(view, slot) * (1 + settings_.late_percent / 100));
    return std::min(end_us - row.remaining_own_us - other.remaining_us,
                    other.due_us + given_us - other.remaining_own_us);
  }

  // Until when the first request can go alone: nobody takes the units of those who wait but it.
  double alone_until_us(const View& view, std::uint32_t first) const noexcept {
    double until_us = kForever_us;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot == first || !in_request(view, slot)) continue;
      until_us = std::min(until_us, waits_until_us(view, slot, first));
    }
    return until_us;
  }

  static Units part(const View& view, std::uint64_t sharers) noexcept {
    const std::uint32_t before = owned_by(view, sharers & (bit(view.self) - 1));
    return part_of(view, view.self, before, owned_by(view, sharers));
  }

  Settings settings_;
};

}  // namespace

PolicyInfo fico() {
  return describe<Fico>("fico", "in the order of their slices on all units, or on parts");
}

}  // namespace fico::policy
