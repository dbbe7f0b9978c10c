// lithos: own units, idle units of others on top, no more than the kernel can use.
//
// Idea: a tenant's kernels run on the units of its quota; units that nobody uses at the moment are
// stolen for one work, and a kernel that gains nothing from its units leaves them to be stolen.
// Work is short, so that stolen units come back soon (the paper cuts kernels into atoms for that).
// Source: Coppock et al., LithOS: An Operating System for Efficient Machine Learning on GPUs,
// SOSP 2025.
// Settings: steal, steal_from_active, right_sizing, slowdown_percent.
// Limits: a kernel is not cut, so an owner may find a part of its units lent until the work there
// ends; then it begins on the others. Nothing runs beside another tenant on the same unit.
#include "policy/builtin.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Lithos final : public Policy {
 public:
  struct Settings {
    bool steal = true;
    bool steal_from_active = false;
    bool right_sizing = false;
    double slowdown_percent = 5;
  };
  static constexpr std::tuple kFields{
      flag("steal", &Settings::steal, "Take units that nobody uses, for one work."),
      flag("steal_from_active", &Settings::steal_from_active,
           "Also from tenants in a request whose present work leaves units."),
      flag("right_sizing", &Settings::right_sizing, "Use no more units than the kernel needs."),
      Field{"slowdown_percent", &Settings::slowdown_percent, 0.0, 100.0,
            "How much slower than on all units a kernel may be on its right size."}};
  explicit Lithos(Settings settings) : settings_(settings) {}

  Grant decide(const View& view) const noexcept override {
    const std::uint64_t taken = claimed_by_others(view) | wanted_by_owners(view);
    Units units = settings_.steal ? grown(view.slice(), taken, view.unit_count) : view.slice();
    if (units.size() == 0) return {.exclusive = true, .units = view.slice()};
    if (settings_.right_sizing) {
      const std::uint32_t size =
          right_size(view.kernel(), view.unit_count, settings_.slowdown_percent / 100);
      units = shrunk(units, size, view.slice());
    }
    return {.exclusive = true, .units = units};
  }

 private:
  // Units that are not idle: of tenants that are about to launch, or of all in a request.
  std::uint64_t wanted_by_owners(const View& view) const noexcept {
    std::uint64_t mask = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      const Phase phase = view.rows[slot].phase;
      if (slot == view.self || phase == Phase::kIdle) continue;
      if (phase == Phase::kWants || !settings_.steal_from_active) {
        mask |= view.members[slot].own.mask();
      }
    }
    return mask & ~view.slice().mask();
  }

  Settings settings_;
};

}  // namespace

PolicyInfo lithos() {
  return describe<Lithos>("lithos", "own units, idle ones of others on top, right-sized");
}

}  // namespace fico::policy
