// The policy of a session as text, as it lies in the arena: "fico span_us=250 order=0".
#pragma once

#include <memory>
#include <span>
#include <string>

#include "arena/layout.hpp"
#include "policy/policy.hpp"

namespace fico::seat {

// What a session can have; the first is what needs no scheduling.
std::span<const char* const> live_policies();

// std::invalid_argument with the known names for a policy that no session can have, and for
// settings that it does not have.
std::string schedule_text(const std::string& name, const policy::Values& settings);

// What all live policies have besides their own settings.
struct Pace {
  // A piece goes out when, by the profile, the one before it has so long to run,
  double lead_us = 60;
  // or less: so much of the shortest request of another tenant, which may come meanwhile.
  double lead_percent = 5;
};
// Name, range and meaning of each.
std::span<const policy::SettingInfo> pace_settings();

// What it names. std::invalid_argument if it is damaged.
struct Schedule {
  std::string name;
  policy::Values settings;  // all that were given
  Pace pace;
};
Schedule parse_schedule(const std::string& text);
// The policy itself, of a session that is scheduled, without its pace. std::invalid_argument as in
// schedule_text().
std::unique_ptr<policy::Policy> make_policy(const Schedule& schedule);

// How a session hands out its units under this policy.
arena::Policy mode_of(const std::string& name);

}  // namespace fico::seat
