// A policy: view in, grant out. It is pure, so that the same view gives the same grant in every
// process, in the simulator and in tests: no state, no clock, no allocation.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "policy/view.hpp"

namespace fico::policy {

class Policy {
 public:
  Policy() = default;
  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;
  virtual ~Policy() = default;

  // What the tenant `view.self`, which wants to launch, may do.
  virtual Grant decide(const View& view) const noexcept = 0;

  // No hold is longer: work that waits so long is let go on all units.
  virtual double longest_hold_us() const noexcept { return kForever_us; }
  // Tenants are plain processes without MPS: the hardware switches between their works, so that no
  // graph has to be cut for it.
  virtual bool is_plain() const noexcept { return false; }
};

enum class Type { kBool, kInt, kFloat };

struct SettingInfo {
  std::string name;
  Type type;
  double initial;
  double lowest;
  double highest;
  std::string meaning;
};

using Values = std::map<std::string, double>;  // true is 1

struct PolicyInfo {
  std::string name;
  std::string idea;
  std::vector<SettingInfo> settings;
  // std::invalid_argument for a setting that is not known or out of its range; the text names it.
  std::unique_ptr<Policy> (*make)(const Values& values);
};

// All policies, in the order in which they are shown.
std::span<const PolicyInfo> policies();

// std::invalid_argument with the known names if there is none of this name.
std::unique_ptr<Policy> make_policy(const std::string& name, const Values& values);

}  // namespace fico::policy
