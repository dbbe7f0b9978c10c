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

struct PaceField {
  double Pace::* member;
  policy::SettingInfo info;
};

const std::array kPace{PaceField{&Pace::lead_us,
                                 {"lead_us", policy::Type::kFloat, Pace{}.lead_us, 0, 10'000,
                                  "A piece goes out so long before the one ahead of it ends."}},
                       PaceField{&Pace::lead_percent,
                                 {"lead_percent", policy::Type::kFloat, Pace{}.lead_percent, 0, 1e6,
                                  "At most this, of the shortest request of another tenant."}}};

// Takes out what is no setting of the policy itself.
Pace split_pace(policy::Values& settings) {
  Pace pace;
  for (const auto& [member, info] : kPace) {
    const auto given = settings.extract(info.name);
    if (given.empty()) continue;
    pace.*member = given.mapped();
    if (!(pace.*member >= info.lowest && pace.*member <= info.highest)) {
      std::ostringstream said;
      said << "setting " << info.name << " goes from " << info.lowest << " to " << info.highest;
      throw std::invalid_argument(said.str());
    }
  }
  return pace;
}

}  // namespace

std::span<const policy::SettingInfo> pace_settings() {
  static const auto infos = [] {
    std::array<policy::SettingInfo, kPace.size()> made;
    std::ranges::transform(kPace, made.begin(), &PaceField::info);
    return made;
  }();
  return infos;
}

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
