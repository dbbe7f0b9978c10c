// orion: one client first, the others' kernels only where they do it no harm.
//
// Idea: a best-effort kernel goes out when the client that matters is idle, or when it is small and
// limited by what the other's kernel is not limited by; and only while not too much best-effort
// work is on its way, because kernels cannot be taken back. Source: Strati et al., Orion:
// Interference-aware, Fine-grained GPU Sharing for ML Applications, EuroSys 2024 (Listing 1).
// Settings: all_first, small_percent, outstanding_percent, longest_hold_us.
// Limits: it knows one client that matters; with all_first everybody is one. Best-effort clients
// have no promise but the bound on holds, which the paper does not have.
#include "policy/builtin.hpp"
#include "policy/realtime.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Orion final : public Policy {
 public:
  struct Settings {
    bool all_first = true;
    double small_percent = 50;
    double outstanding_percent = 2.5;
    double longest_hold_us = 20000;
    double sms_per_unit = 8;
  };
  static constexpr std::tuple kFields{
      flag("all_first", &Settings::all_first,
           "Every tenant matters; else the one of the most urgent priority."),
      Field{"small_percent", &Settings::small_percent, 0.0, 101.0,
            "A kernel is small if it fills less of the GPU (SM_THRESHOLD)."},
      Field{"outstanding_percent", &Settings::outstanding_percent, 0.0, 1000.0,
            "Best-effort work on its way at once, of the other's request (DUR_THRESHOLD)."},
      Field{"longest_hold_us", &Settings::longest_hold_us, 100.0, 1e6,
            "Best-effort work goes after so long a wait."},
      Field{"sms_per_unit", &Settings::sms_per_unit, 1.0, 132.0, "SMs of a unit of the GPU."}};
  explicit Orion(Settings settings) : settings_(settings) {}

  double longest_hold_us() const noexcept override { return settings_.longest_hold_us; }

  Grant decide(const View& view) const noexcept override {
    if (settings_.all_first) {
      return {.level = kLevelFirst, .units = view.all(), .span_us = kForever_us};
    }
    const std::uint32_t first = most_urgent(view);
    if (view.self == first) return {.level = kLevelFirst, .units = view.all()};
    const Grant go{.units = view.all()};
    const bool idle = first == view.count || view.rows[first].phase == Phase::kIdle;
    if (idle) return go;
    double outstanding_us = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (slot != first) outstanding_us += view.rows[slot].in_flight_us;
    }
    const double limit_us = view.rows[first].request_us * settings_.outstanding_percent / 100;
    if (outstanding_us > limit_us) return Grant::hold(kForever_us);
    return small(view) && opposite(view.kernel(), view.work[first]) ? go : Grant::hold(kForever_us);
  }

 private:
  bool small(const View& view) const noexcept {
    return filled_units(view.kernel(), view.unit_count, settings_.sms_per_unit) * 100.0 <
           settings_.small_percent * view.unit_count;
  }
  // A kernel that neither computation nor memory limits harms nobody.
  static bool opposite(const profile::Kernel& kernel, const profile::Kernel* other) noexcept {
    return other == nullptr || kernel.bound == profile::Bound::kLatency ||
           other->bound == profile::Bound::kLatency || kernel.bound != other->bound;
  }

  Settings settings_;
};

}  // namespace

PolicyInfo orion() {
  return describe<Orion>("orion", "one client first, others where they do no harm");
}

}  // namespace fico::policy
