// Where the program is in its profiled requests, kept from its launches and published in the arena.
// Without a profile all of it is a test of one pointer.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "profile/table.hpp"
#include "sched/tracker.hpp"
#include "sched/work.hpp"

namespace fico::hook {

// One a process, made at the first launch and never destroyed.
class Live {
 public:
  // nullptr if the tenant has no profile, or it can't be read: then one line has said why.
  static Live* self();

  // Where a launch stands in the profile.
  struct Position {
    const std::shared_ptr<const sched::Plan>* plan;  // of its request, a work for each launch
    std::uint32_t launch;
    bool completes;
  };
  std::optional<Position> launched(CUfunction function, profile::Dim grid, profile::Dim block);

  // The kernels of a graph, as the profile knows launches.
  struct Sequence {
    std::vector<std::uint64_t> signatures;
    std::uint32_t trace = kNoTrace;  // the kind of request that the graph is
  };
  static constexpr std::uint32_t kNoTrace = ~std::uint32_t{0};
  // Also without a profile.
  static Sequence sequence_of(CUgraph graph);
  void launched(const Sequence& graph);
  // How a graph that is one of the profile's requests is cut.
  const std::shared_ptr<const sched::Plan>& plan_of_graph(std::uint32_t trace) const {
    return graph_plans_[trace];
  }

 private:
  explicit Live(profile::Table table);

  void publish(std::uint32_t launch);
  sched::Tracker::Step step(std::uint64_t signature);

  const profile::Table table_;
  std::mutex mutex_;  // taken last of all
  sched::Tracker tracker_;
  // Of each trace; never changed.
  std::vector<std::shared_ptr<const sched::Plan>> graph_plans_;
  std::vector<std::shared_ptr<const sched::Plan>> eager_plans_;
};

}  // namespace fico::hook
