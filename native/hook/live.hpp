// Where the program is in its profiled requests, kept from its launches and published in the arena.
// Without a profile all of it is a test of one pointer.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "profile/table.hpp"
#include "sched/tracker.hpp"

namespace fico::hook {

// One a process, made at the first launch and never destroyed.
class Live {
 public:
  // nullptr if the tenant has no profile, or it can't be read: then one line has said why.
  static Live* self();

  void launched(CUfunction function, profile::Dim grid, profile::Dim block);

  // The kernels of a graph, as the profile knows launches.
  struct Sequence {
    std::vector<std::uint64_t> signatures;
    std::uint32_t trace = kNoTrace;  // the kind of request that the graph is
  };
  static constexpr std::uint32_t kNoTrace = ~std::uint32_t{0};
  Sequence sequence_of(CUgraph graph);
  void launched(const Sequence& graph);

 private:
  explicit Live(profile::Table table) : table_(std::move(table)), tracker_(table_) {}

  void publish(std::uint32_t launch);
  void step(std::uint64_t signature);

  const profile::Table table_;
  std::mutex mutex_;  // taken last of all
  sched::Tracker tracker_;
};

}  // namespace fico::hook
