#include "seat/schedule.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>
#include <stdexcept>

#include "seat/jumble.hpp"

namespace fico::seat {
namespace {

constexpr const char* kJumble = "jumble";
constexpr std::array kLive{"mps",   "static", "shuffle", "fico", "reef",
                           "krisp", "orion",  "lithos",  kJumble};

const policy::SettingInfo kLead{
    "lead_us",      policy::Type::kFloat,
    Pace{}.lead_us, 0,
    10'000,         "A piece goes out so long before the one ahead of it ends."};

// Takes out what is no setting of the policy itself.
Pace split_pace(policy::Values& settings) {
  Pace pace;
  if (const auto given = settings.extract(kLead.name); !given.empty()) {
    pace.lead_us = given.mapped();
    if (!(pace.lead_us >= kLead.lowest && pace.lead_us <= kLead.highest)) {
      throw std::invalid_argument("setting lead_us goes from 0 to 10000");
    }
  }
  return pace;
}

}  // namespace

std::span<const policy::SettingInfo> pace_settings() { return {&kLead, 1}; }

std::span<const char* const> live_policies() { return kLive; }

arena::Policy mode_of(const std::string& name) {
  if (name == "mps") return arena::Policy::kMps;
  if (name == "static") return arena::Policy::kStatic;
  return name == "shuffle" ? arena::Policy::kShuffle : arena::Policy::kScheduled;
}

std::string schedule_text(const std::string& name, const policy::Values& settings) {
  if (std::ranges::find(kLive, name) == kLive.end()) {
    std::ostringstream known;
    for (const char* live : kLive) known << (live == kLive[0] ? "" : ", ") << live;
    throw std::invalid_argument("a session can't have policy '" + name + "': it is one of " +
                                known.str());
  }
  if (mode_of(name) == arena::Policy::kScheduled) {
    make_policy({name, settings, {}});
  } else if (!settings.empty()) {
    throw std::invalid_argument("policy " + name + " has no setting " + settings.begin()->first);
  }
  std::string text = name;
  for (const auto& [setting, value] : settings) {
    char number[40];
    std::snprintf(number, sizeof number, "%.17g", value);
    text.append(" ").append(setting).append("=").append(number);
  }
  return text;
}

Schedule parse_schedule(const std::string& text) {
  std::istringstream words(text);
  Schedule schedule;
  words >> schedule.name;
  std::string word;
  while (words >> word) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      throw std::invalid_argument("the session's policy '" + text + "' is damaged");
    }
    schedule.settings[word.substr(0, equals)] = std::stod(word.substr(equals + 1));
  }
  policy::Values rest = schedule.settings;
  schedule.pace = split_pace(rest);
  return schedule;
}

std::unique_ptr<policy::Policy> make_policy(const Schedule& schedule) {
  policy::Values settings = schedule.settings;
  split_pace(settings);
  if (schedule.name != kJumble) return policy::make_policy(schedule.name, settings);
  if (!settings.empty()) throw std::invalid_argument("jumble has no settings");
  return std::make_unique<Jumble>();
}

}  // namespace fico::seat
