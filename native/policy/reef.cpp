// reef: real-time kernels first, best-effort kernels in the SMs that they leave.
//
// Idea: a real-time kernel starts at once on the SMs that it fills; best-effort kernels pad the
// others. Without real-time work best-effort kernels share everything.
// Source: Han et al., Microsecond-scale Preemption for Concurrent GPU-accelerated DNN Inferences,
// OSDI 2022.
// Settings: all_realtime, in_turn, longest_hold_us.
// Limits: the paper resets best-effort kernels that run, which needs kernels that can be run twice;
// here they run to their end. It knows one real-time client: with all_realtime everybody is one,
// and in_turn serves them first come, first served.
#include "policy/builtin.hpp"
#include "policy/realtime.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Reef final : public Policy {
 public:
  struct Settings {
    bool all_realtime = true;
    bool in_turn = false;
    double longest_hold_us = 20000;
    double sms_per_unit = 8;
  };
  static constexpr std::tuple kFields{
      flag("all_realtime", &Settings::all_realtime,
           "Every tenant is real-time; else the one of the most urgent priority."),
      flag("in_turn", &Settings::in_turn, "One real-time request at a time, in order of arrival."),
      Field{"longest_hold_us", &Settings::longest_hold_us, 100.0, 1e6,
            "Best-effort work goes on all units after so long a wait."},
      Field{"sms_per_unit", &Settings::sms_per_unit, 1.0, 132.0, "SMs of a unit of the GPU."}};
  explicit Reef(Settings settings) : settings_(settings) {}

  double longest_hold_us() const noexcept override { return settings_.longest_hold_us; }

  Grant decide(const View& view) const noexcept override {
    const std::uint32_t chosen = most_urgent(view);
    if (settings_.all_realtime || view.self == chosen) return realtime(view);
    const Row& row = view.rows[chosen];
    if (chosen == view.count || row.phase == Phase::kIdle) return {.units = view.all()};
    // The real-time kernel is at the lower end.
    const std::uint32_t filled =
        view.work[chosen]
            ? filled_units(*view.work[chosen], view.unit_count, settings_.sms_per_unit)
            : view.unit_count;
    if (filled >= view.unit_count) return Grant::hold(kForever_us);
    return {.units = {static_cast<std::uint16_t>(filled), view.all().hi}};
  }

 private:
  Grant realtime(const View& view) const noexcept {
    for (std::uint32_t slot = 0; settings_.in_turn && slot < view.count; ++slot) {
      if (!view.rival(slot)) continue;
      if (!settings_.all_realtime) break;
      const Row& row = view.rows[slot];
      const double own_us = view.own().begin_us;
      if (row.begin_us < own_us || (row.begin_us == own_us && slot < view.self)) {
        return Grant::hold(kForever_us);
      }
    }
    // Where all are alike, nothing is decided within a request.
    return {.level = kLevelFirst,
            .units = view.all(),
            .span_us = settings_.all_realtime ? kForever_us : 0};
  }

  Settings settings_;
};

}  // namespace

PolicyInfo reef() { return describe<Reef>("reef", "real-time kernels first, others pad"); }

}  // namespace fico::policy
