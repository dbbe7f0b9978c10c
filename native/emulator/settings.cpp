#include "emulator/settings.hpp"

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fico::emulator {
namespace {

// The value of `name` as a number; nothing where it is unset, empty or not a positive number.
template <class Number>
std::optional<Number> number_from(const char* name, Number lowest) {
  const char* text = std::getenv(name);
  if (!text || !*text) return std::nullopt;
  Number value{};
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  if (error == std::errc{} && !*end && value >= lowest) return value;
  std::fprintf(stderr, "fico emulator: %s=%s is not a number from %g up: it is ignored\n", name,
               text, static_cast<double>(lowest));
  return std::nullopt;
}

}  // namespace

Settings read_settings() {
  Settings settings;
  const char* path = std::getenv("FICO_EMULATED_STATE");
  settings.state_path =
      path && *path ? path : "/dev/shm/fico-emulated-" + std::to_string(geteuid());
  settings.dilation = number_from<double>("FICO_EMULATED_DILATION", 1e-3).value_or(1);
  settings.instant = number_from<int>("FICO_EMULATED_INSTANT", 0).value_or(0) != 0;
  settings.seed = number_from<std::uint64_t>("FICO_EMULATED_SEED", 0);
  if (settings.instant) settings.dilation = 1;
  return settings;
}

}  // namespace fico::emulator
