// Where the program is in its profiled requests, kept from its launches and published in the arena.
// Without a profile all of it is a test of one pointer.
#pragma once

#include <cuda.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "hook/hot.hpp"
#include "profile/table.hpp"
#include "sched/tracker.hpp"
#include "sched/work.hpp"

namespace fico::hook {

// One a process, made at the first launch and never destroyed.
class Live {
 public:
  // nullptr if the tenant has no profile, or it can't be read: then one line has said why.
  static Live* self() {
    if (!hot.is_live_known.load(std::memory_order_acquire)) return make();
    return hot.live.load(std::memory_order_relaxed);
  }

  // Where a launch stands in the profile.
  struct Position {
    const std::shared_ptr<const sched::Plan>* plan;  // of its request, a work for each launch
    std::uint32_t launch;
    bool completes;
  };
  std::optional<Position> launched(CUfunction function, profile::Dim grid, profile::Dim block);
  // The same, where nobody asks where it stands: that is found out later, for some at once (hot.hpp
  // says why).
  [[gnu::hot]] void note(CUfunction function, profile::Dim grid, profile::Dim block);
  // Finds out where the noted launches stand, and publishes where the last one does. Called
  // whenever the program has waited for something, and now and then by the keeper.
  void catch_up();

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
  static Live* make();

  static constexpr std::uint32_t kMostNoted = 26;  // with the lock, four lines of the cache

  std::unique_lock<std::mutex> caught_up();
  void find_noted();
  void publish();
  sched::Tracker::Step step(std::uint64_t signature);

  alignas(64) std::mutex mutex_;        // taken last of all
  std::atomic<bool> is_behind_{false};  // set with the lock
  std::uint32_t noted_count_ = 0;
  std::array<std::uint64_t, kMostNoted> noted_{};  // signatures
  std::uint32_t trace_ = kNoTrace;                 // of the last launch that the profile knows
  std::uint32_t launch_ = 0;                       // which it was, in the table
  const profile::Table table_;
  sched::Tracker tracker_;
  // Of each trace; never changed.
  std::vector<std::shared_ptr<const sched::Plan>> graph_plans_;
  std::vector<std::shared_ptr<const sched::Plan>> eager_plans_;
};

}  // namespace fico::hook
