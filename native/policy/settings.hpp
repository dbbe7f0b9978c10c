// Typed settings of a policy: a plain struct, and for each member a name, a range and a meaning.
#pragma once

#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

#include "policy/policy.hpp"

namespace fico::policy {

template <typename Settings, typename Value>
struct Field {
  const char* name;
  Value Settings::* member;
  double lowest;
  double highest;
  const char* meaning;
};

template <typename Settings>
constexpr Field<Settings, bool> flag(const char* name, bool Settings::* member,
                                     const char* meaning) {
  return {name, member, 0, 1, meaning};
}

template <typename Value>
constexpr Type type_of() {
  if constexpr (std::is_same_v<Value, bool>) return Type::kBool;
  return std::is_integral_v<Value> ? Type::kInt : Type::kFloat;
}

template <typename Settings, typename Value>
void set(Settings& settings, const Field<Settings, Value>& field, double value) {
  if (!(value >= field.lowest && value <= field.highest) ||
      (std::is_integral_v<Value> && value != std::floor(value))) {
    throw std::invalid_argument(
        "setting " + std::string(field.name) + " cannot be " + std::to_string(value) +
        ": it goes from " + std::to_string(field.lowest) + " to " + std::to_string(field.highest));
  }
  settings.*field.member = static_cast<Value>(value);
}

// `P` has a struct Settings, a static tuple kFields of Field, and a constructor from Settings.
template <typename P>
std::unique_ptr<Policy> make_configured(const Values& values) {
  typename P::Settings settings;
  for (const auto& [name, value] : values) {
    bool known = false;
    std::apply(
        [&](const auto&... field) {
          ((std::string_view(field.name) == name ? (set(settings, field, value), known = true)
                                                 : false),
           ...);
        },
        P::kFields);
    if (!known) throw std::invalid_argument("the policy has no setting " + name);
  }
  return std::make_unique<P>(settings);
}

template <typename P>
PolicyInfo describe(const char* name, const char* idea) {
  const typename P::Settings initial;
  std::vector<SettingInfo> infos;
  std::apply(
      [&](const auto&... field) {
        (infos.push_back({field.name,
                          type_of<std::remove_cvref_t<decltype(initial.*field.member)>>(),
                          static_cast<double>(initial.*field.member), field.lowest, field.highest,
                          field.meaning}),
         ...);
      },
      P::kFields);
  return {name, idea, std::move(infos), &make_configured<P>};
}

}  // namespace fico::policy
