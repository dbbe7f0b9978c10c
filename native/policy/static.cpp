// static: each tenant on its own units and nowhere else.
//
// Idea: the slice that a quota stands for, made of hardware; what `fico` promises not to be worse
// than.
// Source: static spatial partitioning (MIG, green contexts).
// Settings: none.
// Limits: units of an idle tenant stay idle; memory bandwidth and L2 are shared all the same.
#include "policy/builtin.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

class Static final : public Policy {
 public:
  struct Settings {};
  static constexpr std::tuple<> kFields{};
  explicit Static(Settings) {}

  Grant decide(const View& view) const noexcept override {
    return {.exclusive = true, .units = view.slice(), .span_us = kForever_us};
  }
};

}  // namespace

PolicyInfo static_slices() { return describe<Static>("static", "each tenant on its own units"); }

}  // namespace fico::policy
