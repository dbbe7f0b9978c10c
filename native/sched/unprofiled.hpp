// A plan for a program of which nothing is known but how many kernels its request has and how long
// one took. It is taken to need every unit in full, so that no part looks as good as all of them.
#pragma once

#include <cstdint>

#include "sched/work.hpp"

namespace fico::sched {

// `kernels` of equal length, `total_us` together, in works of at most `kernels_each`.
Plan unprofiled_plan(std::uint32_t kernels, std::uint32_t kernels_each, double total_us,
                     std::uint32_t unit_count);

}  // namespace fico::sched
