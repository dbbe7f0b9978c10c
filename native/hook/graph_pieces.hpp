// A CUDA graph cut into the works of a plan, so that each can be launched by itself: its segment
// is a copy of the graph without the nodes of all other works.
#pragma once

#include <cuda.h>

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
  ~GraphPieces();
  GraphPieces(const GraphPieces&) = delete;
  GraphPieces& operator=(const GraphPieces&) = delete;

  const std::shared_ptr<const sched::Plan>& plan() const { return plan_; }
  // False: nothing tells the plan's works apart in the graph, it goes out in one piece.
  bool can_be_cut() const { return !ends_.empty(); }
  // The graph of one work, made when it is first asked for; nullptr if the driver refuses.
  CUgraph graph_of(std::uint32_t work);

 private:
  bool cut(const std::vector<CUgraphNode>& nodes);

  const CUgraph graph_;
  std::shared_ptr<const sched::Plan> plan_;
  std::vector<CUgraphNode> nodes_;  // each after those that it depends on
  std::vector<std::size_t> ends_;   // of each work: one past its last node
  std::vector<CUgraph> graphs_;     // of each work; nullptr: not made yet
};

}  // namespace fico::hook
