#include "emulator/settings.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

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

// The entry of device 0 in a list like "0=1G,1=512M", as the MPS server reads it.
std::optional<std::uint64_t> memory_limit() {
  constexpr const char* name = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";
  const char* list = std::getenv(name);
  if (!list || !*list) return std::nullopt;
  for (std::string_view rest = list; !rest.empty();) {
    const auto entry = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(entry.size() + 1, rest.size()));
    if (!entry.starts_with("0=")) continue;
    std::uint64_t size = 0;
    const auto [end, error] = std::from_chars(entry.data() + 2, entry.data() + entry.size(), size);
    const std::string_view unit(end, entry.data() + entry.size());
    const int shift = unit == "G"    ? 30
                      : unit == "M"  ? 20
                      : unit == "K"  ? 10
                      : unit.empty() ? 0
                                     : -1;
    if (error == std::errc{} && shift >= 0) return size << static_cast<unsigned>(shift);
    std::fprintf(stderr, "fico emulator: %s=%s is not understood: it is ignored\n", name, list);
  }
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
  settings.take_us = number_from<double>("FICO_EMULATED_TAKE_US", 0).value_or(settings.take_us);
  settings.memory_limit_bytes = memory_limit().value_or(settings.memory_limit_bytes);
  if (settings.instant) settings.dilation = 1;
  return settings;
}

}  // namespace fico::emulator
