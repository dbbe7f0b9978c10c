// mps-quota: a cap on the SMs of a tenant, the size of its quota, that lie anywhere.
//
// Idea: MPS with an active thread percentage. Blocks go to the emptiest SMs, so a capped client
// ends up where the others are not.
// Source: NVIDIA, Multi-Process Service, CUDA_MPS_ACTIVE_THREAD_PERCENTAGE.
// Settings: percent_of_quota.
// Limits: nothing is lent; nothing is isolated where the caps add up to more than the GPU. The
// place is chosen once a request here, and block by block on the device.
#include "policy/builtin.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class MpsQuota final : public Policy {
 public:
  struct Settings {
    double percent_of_quota = 100;
  };
  static constexpr std::tuple kFields{
      Field{"percent_of_quota", &Settings::percent_of_quota, 1.0, 10000.0,
            "The cap as a share of the tenant's quota; NVIDIA suggests up to 200."}};
  explicit MpsQuota(Settings settings) : settings_(settings) {}

  Grant decide(const View& view) const noexcept override {
    const double wanted = view.slice().size() * settings_.percent_of_quota / 100;
    const auto size = static_cast<std::uint32_t>(
        std::clamp(std::ceil(wanted), 1.0, static_cast<double>(view.unit_count)));
    return {.units = least_loaded(view, view.all(), size, view.slice()), .span_us = kForever_us};
  }

 private:
  Settings settings_;
};

}  // namespace

PolicyInfo mps_quota() {
  return describe<MpsQuota>("mps-quota", "a cap on SMs per tenant, anywhere on the GPU");
}

}  // namespace fico::policy
