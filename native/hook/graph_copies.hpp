// Our copy of a graph of the program, and its instances for other places than its own: of the whole
// graph, of each work of its plan, and of works in a row that are wanted often
// (docs/interception.md, "Graphs").
//
// Under a policy instances are built by a thread of ours, and launches take what is there; under
// `static` and `shuffle` a launch builds what it needs.
//
// Threads: the caller holds the graph's lock (Graphs::Exec), except for launch() of what the
// builder makes meanwhile. The builder holds `build_mutex_` for one instance at a time.
#pragma once

#include <cuda.h>

#include <atomic>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "cuda/driver.hpp"
#include "hook/graph_pieces.hpp"
#include "hook/live.hpp"
#include "hook/streams.hpp"

namespace fico::hook {

class GraphCopies : public std::enable_shared_from_this<GraphCopies> {
 public:
  using Launch = CUresult (*)(CUgraphExec, CUstream);
  using Segment = GraphPieces::Segment;
  // The whole graph, cut or not.
  static constexpr Segment kWhole{0, ~std::uint32_t{0}};

  GraphCopies(CUcontext context, unsigned long long flags);
  ~GraphCopies();
  GraphCopies(const GraphCopies&) = delete;
  GraphCopies& operator=(const GraphCopies&) = delete;

  // Copies the graph as it is now; what was built of another is destroyed.
  void adopt(CUgraph graph);
  // Destroys the copy and all that was built of it.
  void give_up(const char* reason);
  // A node of the program's instance was changed: apply(graph, node) makes the same change in ours,
  // and gives the node that stands for it from then on; false if it can't.
  template <class Apply>
  void change(CUgraphNode node, Apply apply);

  // Whether there is a copy; else why not.
  bool exists() const { return graph_ != nullptr; }
  const char* why_not() const { return why_not_; }
  // Of the copy, which exists.
  const Live::Sequence& sequence();
  const GraphPieces& pieces();
  // Whether every work can be launched at home, if nowhere else. If not, that is built.
  bool can_go_in_pieces();

  enum class Found : std::uint8_t { kLaunched, kMissing, kImpossible };
  // Launches a segment as it was built for a place.
  Found launch(Segment segment, const Place& place, CUstream stream, Launch real, CUresult& result);
  // Builds it for that place now, if it is not there.
  void build(Segment segment, const Place& place);
  // Has it built. Several works in a row: if they were wanted often, and not too many are there.
  void build_soon(Segment segment, const Place& place);
  // Has every work built.
  void build_works_soon(const Place& place);

  // Whether launches build what they need also under a policy (FICO_GRAPH_BUILD=launch, to test).
  static bool builds_at_launch();

 private:
  // So many nodes are kept in instances, of all graphs of the process together: some 8 KiB of GPU
  // memory each. The place of a graph that was not used for longest is given up for another, but
  // not the one that a graph used last. Beside three others densenet201 (957 nodes) uses some ten
  // places; with a third of this it built them over and over (docs/live.md, "Graphs in pieces").
  static constexpr std::size_t kMaxNodes = 48'000;
  // That, or FICO_GRAPH_NODES.
  static std::size_t max_nodes();
  // Works in a row are worth an instance once they were wanted so often, and only so many.
  static constexpr std::uint32_t kOften = 3;
  static constexpr std::size_t kMaxRows = 32;

  struct Spot {
    cuda::Partition* partition;
    int priority;
    auto operator<=>(const Spot&) const = default;
  };
  static Spot spot_of(const Place& place);

  // nullptr: it can't be built there.
  struct Instances {
    std::map<Segment, CUgraphExec> built;
    std::map<Segment, std::uint32_t> wanted;  // works in a row: how often
    std::size_t nodes = 0;                    // of all that is built
    std::uint64_t used = 0;                   // when, by launches of the process
  };

  // Nothing: not built; nullptr: it can't be.
  std::optional<CUgraphExec> find(Segment segment, const Place& place);
  void order(Segment segment, const Place& place);
  // The caller holds build_mutex_ of these two.
  void destroy();
  CUgraphExec instantiate(Segment segment, const Place& place, std::size_t& nodes) const;
  // Destroys what is built for a place; the caller holds instances_mutex_.
  void drop(std::map<Spot, Instances>::iterator instances);
  // Gives up places of any graph, but for this one of this graph, until so many nodes have room.
  void make_room(std::size_t nodes, const Spot& spot);
  // Besides home; the caller holds instances_mutex_.
  Spot last_used() const;
  CUgraphNode own_node(CUgraphNode node) const;

  const CUcontext context_;
  const unsigned long long flags_;
  // Written with the graph's lock and this one held.
  std::mutex build_mutex_;
  CUgraph graph_ = nullptr;
  const char* why_not_ =
      "a graph with nodes that can't be copied (memory, conditional, device launch)";
  std::optional<Live::Sequence> sequence_;
  std::unique_ptr<GraphPieces> pieces_;
  // The program's node: ours now, where the driver can't tell.
  std::unordered_map<CUgraphNode, CUgraphNode> replaced_;
  bool home_is_built_ = false;

  std::mutex instances_mutex_;  // taken last; held while one of them is launched
  std::map<Spot, Instances> instances_;
  std::set<std::pair<Spot, Segment>> ordered_;  // what the builder is to build

  // Of all graphs. The mutex is taken before an instances_mutex_.
  struct All {
    std::mutex mutex;
    std::set<GraphCopies*> graphs;
    std::atomic<std::size_t> nodes{0};
    std::atomic<std::uint64_t> launches{0};
  };
  static All& all();
};

template <class Apply>
void GraphCopies::change(CUgraphNode node, Apply apply) {
  if (graph_ == nullptr) return;
  const char* reason = nullptr;
  {
    const std::lock_guard lock(build_mutex_);
    const cuda::RelaxedCapture relaxed;
    destroy();
    const CUgraphNode ours = own_node(node);
    CUgraphNode after = ours;
    if (ours == nullptr) {
      reason = "an instance of a graph was changed in a node that our copy does not have";
    } else if (!apply(graph_, after)) {
      reason = "an instance of a graph was changed in a way that our copy refuses";
    } else if (after != ours) {
      replaced_[node] = after;
    }
  }
  if (reason != nullptr) give_up(reason);
}

}  // namespace fico::hook
