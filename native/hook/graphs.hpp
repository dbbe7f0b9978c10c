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

#include "hook/streams.hpp"

namespace fico::hook {

class Graphs {
 public:
  static Graphs& self();

  using Launch = CUresult (*)(CUgraphExec, CUstream);

  void instantiated(CUgraphExec exec, CUgraph graph, unsigned long long flags);
  CUresult launch(CUgraphExec exec, CUstream stream, bool per_thread, Launch real);
  void destroying(CUgraphExec exec);
  // The executable graph was brought up to date with `graph`, one of its kernels was changed, or it
  // was changed in a way that can't be followed.
  void updated(CUgraphExec exec, CUgraph graph);
  void kernel_changed(CUgraphExec exec, CUgraphNode node,
                      const CUDA_KERNEL_NODE_PARAMS& parameters);
  void changed(CUgraphExec exec);

 private:
  // More than a handful only happens under `shuffle`: each is a copy of the graph on the device.
  static constexpr std::size_t kMaxVariants = 4;

  struct Variant {
    cuda::Partition* partition;
    CUgraphExec exec;
  };

  struct Exec {
    std::mutex mutex;         // taken before a stream's
    CUgraph graph = nullptr;  // our clone; nullptr: launched as it is
    const char* why_open =
        "a graph with nodes that can't be copied (memory, conditional, device launch)";
    unsigned long long flags = 0;
    CUcontext context = nullptr;
    std::vector<Variant> variants;
    // An executable graph never runs beside itself (cuGraphLaunch). Ours are several, so a launch
    // of one waits for the last launch of another.
    CUevent last = nullptr;
    CUgraphExec last_exec = nullptr;
  };

  std::shared_ptr<Exec> find(CUgraphExec exec);
  static void adopt(Exec& entry, CUgraph graph);
  static void give_up(Exec& entry, const char* reason);
  static void drop_variants(Exec& entry);
  // The graph's instance for the place's partition, built if it is new; nullptr if it can't be.
  static CUgraphExec variant_for(Exec& entry, const Place& place);

  std::shared_mutex mutex_;
  std::unordered_map<CUgraphExec, std::shared_ptr<Exec>> execs_;
};

}  // namespace fico::hook
