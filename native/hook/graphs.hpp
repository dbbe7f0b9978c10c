// CUDA graphs under a partition. A node runs in the context it was captured in, wherever the graph
// is launched, so a confined graph is instantiated again with its kernel nodes moved to the
// partition's green context (docs/driver-facts.md: kernel-node parameters with `kern` and `ctx` and
// without `func` move a node; topology, attributes and all other nodes stay as they are).
#pragma once

#include <cuda.h>

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "hook/graph_copies.hpp"
#include "hook/pacer.hpp"
#include "hook/streams.hpp"

namespace fico::hook {

class Graphs {
 public:
  static Graphs& self();

  using Launch = GraphCopies::Launch;

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
  struct Exec {
    Exec(CUcontext context, unsigned long long flags)
        : copies(std::make_shared<GraphCopies>(context, flags)) {}
    ~Exec();
    Exec(const Exec&) = delete;
    Exec& operator=(const Exec&) = delete;

    std::mutex mutex;  // the graph's lock; taken before a stream's
    const std::shared_ptr<GraphCopies> copies;
    // An executable graph never runs beside itself (cuGraphLaunch). Ours are several, so a launch
    // of one waits for the last launch of another.
    CUevent last = nullptr;
    bool last_was_own = false;  // the program's instance, not one of ours
    std::uint64_t launches = 0;
    bool is_listed = false;  // in running_, and guarded with it
  };

  std::shared_ptr<Exec> find(CUgraphExec exec);
  static void note_launch(Exec* entry);
  // Launches at the issue's place, or where the graph can be launched.
  CUresult launch_whole(const std::shared_ptr<Exec>& entry, CUgraphExec exec, Issue& issue,
                        Launch real);
  CUresult launch_pieces(const std::shared_ptr<Exec>& entry, CUgraphExec exec, CUstream stream,
                         bool per_thread, Launch real, Pacer::Turn& turn);
  static CUresult launch_work(GraphCopies& copies, std::uint32_t work, const Target& target,
                              Issue& issue, Launch real);
  // Notes that a launch has been made, and where it ends.
  void launched(const std::shared_ptr<Exec>& entry, const Issue& issue, bool own);
  // False if the driver refused.
  static bool record_end(Exec& entry, const Issue& issue);
  // Enters it among those that run.
  void list(const std::shared_ptr<Exec>& entry);

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
  entry->copies->change(node, apply);
}

}  // namespace fico::hook
