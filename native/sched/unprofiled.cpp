#include "sched/unprofiled.hpp"

#include <algorithm>

namespace fico::sched {
namespace {

profile::Kernel unknown_kernel(double all_us, std::uint32_t unit_count) {
  profile::Kernel kernel{};
  for (std::uint32_t n = 0; n < unit_count; ++n) {
    kernel.duration_us[n] = static_cast<float>(all_us * unit_count / (n + 1));
  }
  kernel.blocks = 1;
  kernel.blocks_per_sm = 1;
  kernel.right_units = static_cast<std::uint16_t>(unit_count);
  return kernel;
}

}  // namespace

Plan unprofiled_plan(std::uint32_t kernels, std::uint32_t kernels_each, double total_us,
                     std::uint32_t unit_count) {
  kernels = std::max(kernels, 1U);
  kernels_each = std::max(kernels_each, 1U);
  const double each_us = std::max(total_us, 1.0) / kernels;
  Plan plan;
  for (std::uint32_t first = 0; first < kernels; first += kernels_each) {
    Work& work = plan.work.emplace_back();
    work.first = first;
    work.last = std::min(first + kernels_each, kernels);
    work.facts = unknown_kernel(each_us * (work.last - work.first), unit_count);
    const profile::Kernel rest = unknown_kernel(each_us * (kernels - first), unit_count);
    std::ranges::copy(rest.duration_us, work.remaining_us);
  }
  plan.request = {unknown_kernel(each_us * kernels, unit_count), kernels};
  return plan;
}

}  // namespace fico::sched
