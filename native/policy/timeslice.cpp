// timeslice: the whole GPU to one tenant at a time, in turn.
//
// Idea: what the driver does between processes without MPS. A tenant that has no work gives up the
// rest of its slice; between two tenants the context is switched.
// Source: the default of CUDA; slice and cost of a switch were measured on an H200 (one program
// that is always busy beside one with short requests). Settings: slice_us, switch_us. Limits:
// kernels of different tenants never run together. A slice ends with a work here, and within a
// kernel on the device.
#include "policy/builtin.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Timeslice final : public Policy {
 public:
  struct Settings {
    double slice_us = 2000;
    double switch_us = 150;
  };
  static constexpr std::tuple kFields{
      Field{"slice_us", &Settings::slice_us, 100.0, 100000.0, "Length of a slice."},
      Field{"switch_us", &Settings::switch_us, 0.0, 10000.0, "Cost of going to another tenant."}};
  explicit Timeslice(Settings settings) : settings_(settings) {}

  bool is_plain() const noexcept override { return true; }

  // The mark of a tenant is the begin of its last slice.
  Grant decide(const View& view) const noexcept override {
    std::uint32_t next = view.self;  // the one that was not served for the longest time
    bool busy = false;               // another tenant's work is on the device
    bool switches = false;           // another tenant had the last slice
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      const Row& row = view.rows[slot];
      if (slot == view.self) continue;
      switches = switches || row.mark_us > view.own().mark_us;
      if (row.phase == Phase::kIdle) continue;
      if (has_slice(row, view.now_us)) return Grant::hold(row.mark_us + settings_.slice_us);
      busy = busy || row.phase == Phase::kGranted;
      const double best_us = view.rows[next].mark_us;
      if (row.mark_us < best_us || (row.mark_us == best_us && slot < next)) next = slot;
    }
    const Row& own = view.own();
    Grant grant{.units = view.all(), .mark_us = own.mark_us};
    if (has_slice(own, view.now_us) && !switches) return grant;
    if (next != view.self || busy) return Grant::hold(kForever_us);
    grant.delay_us = switches ? settings_.switch_us : 0;
    grant.mark_us = view.now_us + grant.delay_us;
    return grant;
  }

 private:
  // A slice is given up with the request's end: until the program has seen it and launches the
  // next one, the tenant has no work.
  bool has_slice(const Row& row, double now_us) const noexcept {
    return row.mark_us > 0 && row.mark_us >= row.begin_us &&
           now_us < row.mark_us + settings_.slice_us;
  }

  Settings settings_;
};

}  // namespace

PolicyInfo timeslice() {
  return describe<Timeslice>("timeslice", "the whole GPU to one tenant at a time");
}

}  // namespace fico::policy
