// What the tests of the device model share: an H200, kernels, and a driver of scenarios.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "check.hpp"
#include "device/gpu.hpp"

namespace fico::check {

using device::Completion;
using device::Gpu;
using device::Settings;
using device::Units;
using profile::Kernel;

inline constexpr std::uint32_t kUnits = 16;
inline constexpr Units kAll{0, kUnits};

inline std::vector<std::uint32_t> h200_units() {
  std::vector<std::uint32_t> sms(kUnits, 8);
  sms.back() = 12;
  return sms;
}

inline std::uint32_t sms_of(Units units) {
  return (units.hi - units.lo) * 8 + (units.hi == kUnits ? 4 : 0);
}

/// A kernel of `blocks` that take `block_us` each, whole waves on every number of units.
inline Kernel wave_kernel(std::uint32_t blocks, std::uint32_t blocks_per_sm, double block_us) {
  Kernel kernel{};
  kernel.blocks = blocks;
  kernel.blocks_per_sm = blocks_per_sm;
  for (std::uint32_t n = 1; n <= kUnits; ++n) {
    const double room = blocks_per_sm * sms_of({0, n});
    kernel.duration_us[n - 1] = static_cast<float>(std::ceil(blocks / room) * block_us);
  }
  return kernel;
}

struct Launch {
  double at_us;
  Kernel kernel;
  Units units = kAll;
  int priority = 0;
};

/// The end of each launch. `watch` is called after every step.
template <class Watch>
std::vector<double> ends_of(const std::vector<Launch>& launches, const Settings& settings,
                            Watch&& watch) {
  Gpu gpu(h200_units(), settings);
  std::vector<double> ends(launches.size(), -1);
  std::vector<std::size_t> launch_of(launches.size());
  std::vector<std::size_t> order(launches.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(launches[i].at_us, i); });
  std::vector<Completion> ended;
  auto next = order.begin();
  while (next != order.end() || gpu.next_us() < HUGE_VAL) {
    const bool comes = next != order.end() && launches[*next].at_us < gpu.next_us();
    const double now = comes ? launches[*next].at_us : gpu.next_us();
    ended.clear();
    gpu.advance(now, ended);
    for (const auto& one : ended) ends[launch_of[one.id]] = one.time_us;
    if (comes) {
      const auto& launch = launches[*next];
      const auto id = gpu.start(now, launch.kernel, launch.units, launch.priority, 0);
      launch_of[id] = *next++;
    }
    watch(gpu, launch_of, ends);
  }
  return ends;
}

inline std::vector<double> ends_of(const std::vector<Launch>& launches,
                                   const Settings& settings = {}) {
  return ends_of(launches, settings, [](const auto&...) {});
}

inline bool near(double left, double right, double tolerance = 1e-9) {
  const bool ok = std::abs(left - right) <= tolerance * std::max(1.0, std::abs(right));
  if (!ok) std::fprintf(stderr, "%.9g instead of %.9g\n", left, right);
  return ok;
}

}  // namespace fico::check
