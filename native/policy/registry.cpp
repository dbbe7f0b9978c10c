#include <array>
#include <stdexcept>

#include "policy/builtin.hpp"

namespace fico::policy {

std::span<const PolicyInfo> policies() {
  static const std::array all{fico(), mps(),   mps_quota(), static_slices(), timeslice(),
                              reef(), krisp(), orion(),     lithos()};
  return all;
}

std::unique_ptr<Policy> make_policy(const std::string& name, const Values& values) {
  std::string known;
  for (const PolicyInfo& info : policies()) {
    if (info.name == name) return info.make(values);
    known += (known.empty() ? "" : ", ") + info.name;
  }
  throw std::invalid_argument("there is no policy " + name + "; there are " + known);
}

}  // namespace fico::policy
