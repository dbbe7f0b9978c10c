// krisp: every kernel on as many units as it can use, where the least is running.
//
// Idea: a kernel gets the fewest units at which it is nearly as fast as on all of them, so that
// more tenants fit beside each other. Source: Chow et al., KRISP: Enabling Kernel-wise Right-sizing
// for Spatial Partitioned GPU Inference Servers, HPCA 2023. Settings: slowdown_percent, overlap.
// Limits: no quota and no priority; where kernels overlap they slow each other down.
#include "policy/builtin.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Krisp final : public Policy {
 public:
  struct Settings {
    double slowdown_percent = 2;
    bool overlap = true;
  };
  static constexpr std::tuple kFields{
      Field{"slowdown_percent", &Settings::slowdown_percent, 0.0, 100.0,
            "How much slower than on all units a kernel may be on its right size."},
      flag("overlap", &Settings::overlap,
           "Kernels may share units where not enough are free (the paper's KRISP-O); else they get "
           "what is free (KRISP-I).")};
  explicit Krisp(Settings settings) : settings_(settings) {}

  Grant decide(const View& view) const noexcept override {
    const std::uint32_t size =
        right_size(view.kernel(), view.unit_count, settings_.slowdown_percent / 100);
    if (!settings_.overlap) {
      Units free = longest_free(view.all(), claimed_by_others(view));
      if (free.size() > 0) {
        if (free.size() > size) free.hi = static_cast<std::uint16_t>(free.lo + size);
        return {.exclusive = true, .units = free};
      }
    }
    return {.units = least_loaded(view, view.all(), size, view.slice())};
  }

 private:
  Settings settings_;
};

}  // namespace

PolicyInfo krisp() { return describe<Krisp>("krisp", "each kernel on its right size of units"); }

}  // namespace fico::policy
