// mps: every kernel on all SMs, all at one priority, whole graphs as they come.
//
// Idea: leave it to the hardware, which fills the SMs with blocks of whatever is ready.
// Source: NVIDIA, Multi-Process Service, https://docs.nvidia.com/deploy/mps/
// Settings: none.
// Limits: no quota; a program with small kernels waits behind the blocks of one with large ones.
#include "policy/builtin.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Mps final : public Policy {
 public:
  struct Settings {};
  static constexpr std::tuple<> kFields{};
  explicit Mps(Settings) {}

  Grant decide(const View& view) const noexcept override {
    return {.units = view.all(), .span_us = kForever_us};
  }
};

}  // namespace

PolicyInfo mps() { return describe<Mps>("mps", "all SMs to everybody, at one priority"); }

}  // namespace fico::policy
