// CUDA graphs under a partition. A node runs in the context it was captured in, wherever the graph
// is launched, so a confined graph is instantiated again with its kernel nodes moved to the
// partition's green context (docs/driver-facts.md: kernel-node parameters with `kern` and `ctx` and
// without `func` move a node; topology, attributes and all other nodes stay as they are).
#pragma once

#include <cuda.h>

#include <compare>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "cuda/driver.hpp"
#include "hook/graph_pieces.hpp"
#include "hook/live.hpp"
#include "hook/pacer.hpp"
#include "hook/streams.hpp"

namespace fico::hook {

class Graphs {
 public:
  static Graphs& self();

  using Launch = CUresult (*)(CUgraphExec, CUstream);

  void instantiated(CUgraphExec exec, CUgraph graph, unsigned long long flags);
  CUresult launch(CUgraphExec exec, CUstream stream, bool per_thread, Launch real);
  void destroying(CUgraphExec exec);
  // The executable graph was brought up to date with `graph`.
  void updated(CUgraphExec exec, CUgraph graph);
  // A node was changed: apply(graph, node) makes the same change in ours, and gives the node that
  // stands for it from then on; false if it can't.
  template <class Apply>
  void node_changed(CUgraphExec exec, CUgraphNode node, Apply apply);
  // Waits for all graphs that were launched on partitions before the call. The driver's own wait
  // for a context returns before the last of them have ended (docs/driver-facts.md). Holds no lock
  // while it waits; in a forked child it does nothing.
  void await_running();
  // Changed in a way that can't be followed.
  void changed(CUgraphExec exec);
  // The context that can be confined, to which all graphs here belong, is about to end.
  void forget();

 private:
  // How often the kernels of a graph are on the device, all its variants together: each is a copy
  // of the graph or of a segment.
  static constexpr std::size_t kMaxCopies = 16;

  // A graph, or some works of its plan, at a place.
  struct Variant {
    GraphPieces::Segment segment;
    cuda::Partition* partition;
    int priority;
    auto operator<=>(const Variant&) const = default;
  };
  static constexpr GraphPieces::Segment kWhole{0, ~std::uint32_t{0}};

  struct Exec {
    Exec() = default;
    ~Exec();
    Exec(const Exec&) = delete;
    Exec& operator=(const Exec&) = delete;

    std::mutex mutex;         // taken before a stream's
    CUgraph graph = nullptr;  // our clone; nullptr: launched as it is
    const char* why_open =
        "a graph with nodes that can't be copied (memory, conditional, device launch)";
    unsigned long long flags = 0;
    std::optional<Live::Sequence> sequence;  // of its kernels; found at its first launch
    std::unique_ptr<GraphPieces> pieces;     // made when it is first launched under a policy
    // nullptr: that place can't take it.
    std::map<Variant, CUgraphExec> variants;
    std::deque<Variant> built;  // the oldest first
    std::size_t copied_nodes = 0;
    std::size_t nodes = 0;
    // The program's node: ours now, where the driver can't tell.
    std::unordered_map<CUgraphNode, CUgraphNode> replaced;
    // An executable graph never runs beside itself (cuGraphLaunch). Ours are several, so a launch
    // of one waits for the last launch of another.
    CUevent last = nullptr;
    CUgraphExec last_exec = nullptr;
    std::uint64_t launches = 0;
    bool is_listed = false;  // in running_, and guarded with it
  };

  std::shared_ptr<Exec> find(CUgraphExec exec);
  static void adopt(Exec& entry, CUgraph graph);
  static CUgraphExec build(const Exec& entry, CUgraph graph, const Place& place);
  // The node of entry.graph that stands for the program's; nullptr if there is none.
  static CUgraphNode own_node(const Exec& entry, CUgraphNode node);
  // Why a launch can't be confined.
  static const char* why_open(const Exec* entry);
  static void give_up(Exec& entry, const char* reason);
  // Notes where the launch ends. False if the driver refused.
  static bool record_end(Exec& entry, const Issue& issue);
  // Enters it among those that run.
  void list(const std::shared_ptr<Exec>& entry);
  static void drop_variants(Exec& entry);
  // The instance of the graph, or of a segment, for a place; built if it is new; nullptr if it
  // can't be.
  static CUgraphExec variant_for(Exec& entry, GraphPieces::Segment segment, const Place& place);
  static void make_room(Exec& entry, std::size_t nodes);
  static std::size_t nodes_in(const Exec& entry, const Variant& variant);
  static const Live::Sequence& sequence_of(Exec& entry);
  static void note_launch(Exec* entry);
  CUresult launch_whole(const std::shared_ptr<Exec>& entry, CUgraphExec exec, const Issue& issue,
                        Launch real);
  CUresult launch_pieces(const std::shared_ptr<Exec>& entry, CUgraphExec exec, CUstream stream,
                         bool per_thread, Launch real, Pacer::Turn& turn);
  void ended(const std::shared_ptr<Exec>& entry, const Issue& issue, CUgraphExec chosen,
             bool on_partition);

  // Those whose last launch on a partition nobody has waited for; a graph that the program has
  // destroyed stays while it runs. The mutex is taken after a graph's.
  std::mutex running_mutex_;
  std::vector<std::shared_ptr<Exec>> running_;

  std::shared_mutex mutex_;
  std::unordered_map<CUgraphExec, std::shared_ptr<Exec>> execs_;
};

template <class Apply>
void Graphs::node_changed(CUgraphExec exec, CUgraphNode node, Apply apply) {
  const std::shared_ptr<Exec> entry = find(exec);
  if (entry == nullptr) return;
  const std::lock_guard lock(entry->mutex);
  if (entry->graph == nullptr) return;
  const cuda::RelaxedCapture relaxed;
  drop_variants(*entry);
  entry->sequence.reset();
  const CUgraphNode ours = own_node(*entry, node);
  CUgraphNode after = ours;
  if (ours == nullptr) {
    give_up(*entry, "an instance of a graph was changed in a node that our copy does not have");
  } else if (!apply(entry->graph, after)) {
    give_up(*entry, "an instance of a graph was changed in a way that our copy refuses");
  } else if (after != ours) {
    entry->replaced[node] = after;
  }
}

}  // namespace fico::hook
