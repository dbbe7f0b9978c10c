// A CUDA graph cut into the works of a plan, so that parts of it can be launched by themselves: each
// segment is a copy of the graph without the nodes of the others.
#pragma once

#include <cuda.h>

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
  bool can_be_cut() const { return !segments_.empty(); }
  std::size_t nodes_in(std::uint32_t work) const {
    return segments_[work].last - segments_[work].first;
  }
  // The graph of one work, made when it is first asked for; nullptr if the driver refuses.
  CUgraph segment(std::uint32_t work);

 private:
  struct Segment {
    std::size_t first;  // nodes [first, last) of nodes_
    std::size_t last;
    CUgraph graph;
  };

  bool cut(const std::vector<CUgraphNode>& nodes);

  const CUgraph graph_;
  std::shared_ptr<const sched::Plan> plan_;
  std::vector<CUgraphNode> nodes_;  // each after those that it depends on
  std::vector<Segment> segments_;
};

}  // namespace fico::hook
