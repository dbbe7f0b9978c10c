// A CUDA graph cut into the works of a plan, so that some of them can be launched by themselves: a
// segment is a copy of the graph without the nodes of all other works.
#pragma once

#include <cuda.h>

#include <compare>
#include <cstdint>
#include <map>
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
  // Works [first, last).
  struct Segment {
    std::uint32_t first;
    std::uint32_t last;
    auto operator<=>(const Segment&) const = default;
  };
  bool is_whole(Segment segment) const {
    return segment.first == 0 && segment.last == plan_->work.size();
  }
  std::size_t nodes_in(Segment segment) const;
  // Its graph, made when it is first asked for; nullptr if the driver refuses.
  CUgraph graph_of(Segment segment);

 private:
  // Graphs are kept for so many segments: they are made again, in some 1 ms, when there are more.
  static constexpr std::size_t kMaxGraphs = 128;

  std::size_t first_node(std::uint32_t work) const { return work == 0 ? 0 : ends_[work - 1]; }
  void drop_graphs();
  bool cut(const std::vector<CUgraphNode>& nodes);

  const CUgraph graph_;
  std::shared_ptr<const sched::Plan> plan_;
  std::vector<CUgraphNode> nodes_;  // each after those that it depends on
  std::vector<std::size_t> ends_;   // of each work: one past its last node
  std::map<Segment, CUgraph> graphs_;
};

}  // namespace fico::hook
