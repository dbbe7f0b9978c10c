// A request cut into work: what is decided on at once. A launch of an eager program is a work of
// its own; a graph is cut into segments.
#pragma once

#include <cstdint>
#include <vector>

#include "policy/view.hpp"
#include "profile/kernel.hpp"

namespace fico::sched {

struct Cut {
  // A segment ends where the class of the kernels changes once it is so long, and anywhere once it
  // is so long (alone on all units; a kernel is never cut).
  double shortest_us = 50;
  double longest_us = 150;
};

struct Work {
  // Of all its kernels together: durations with the gaps between them, the rest weighted by time.
  profile::Kernel facts;
  // From here to the end of the request, alone on units [0, n), index n - 1; with the gaps.
  float remaining_us[profile::kMaxUnits];
  // The durations of all works before this one, alone on all units.
  float before_us;
  // Kernels [first, last) of the trace.
  std::uint32_t first;
  std::uint32_t last;
};

struct Plan {
  std::vector<Work> work;
  policy::Request request;
  bool from_graph = true;
};

// `unit_count`: units of the device; the durations of each kernel go as far. A trace has kernels.
Plan plan(const profile::Trace& trace, const Cut& cut, std::uint32_t unit_count);

}  // namespace fico::sched
