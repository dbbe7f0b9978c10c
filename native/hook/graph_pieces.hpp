// A CUDA graph cut into the works of a plan, so that they can be launched by themselves: a
// segment is a copy of the graph with the nodes of some works in a row, and no others.
#pragma once

#include <cuda.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "hook/live.hpp"
#include "sched/work.hpp"

namespace fico::hook {

class GraphPieces {
 public:
  // `sequence`: of the graph's kernels. `last_alone_us`: how long a request without a profile took.
  GraphPieces(CUgraph graph, const Live::Sequence& sequence, double last_alone_us,
              std::uint32_t unit_count);
  GraphPieces(const GraphPieces&) = delete;
  GraphPieces& operator=(const GraphPieces&) = delete;

  const std::shared_ptr<const sched::Plan>& plan() const { return plan_; }
  // False: nothing tells the plan's works apart in the graph, it goes out in one piece.
  bool can_be_cut() const { return !ends_.empty(); }
  // Works [first, last) of the plan.
  struct Segment {
    std::uint32_t first;
    std::uint32_t last;
    auto operator<=>(const Segment&) const = default;
  };
  // A new graph, the caller's; nullptr if the driver refuses.
  CUgraph cut_out(Segment segment) const;

 private:
  bool cut(const std::vector<CUgraphNode>& nodes);

  const CUgraph graph_;
  std::shared_ptr<const sched::Plan> plan_;
  std::vector<CUgraphNode> nodes_;  // each after those that it depends on
  std::vector<std::size_t> ends_;   // of each work: one past its last node
};

}  // namespace fico::hook
