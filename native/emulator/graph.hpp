// Graphs, their nodes and their executable instances.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "emulator/op.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {

struct Node {
  Graph* graph = nullptr;
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  std::vector<Node*> after;  // what it depends on
  Work work = Marker{};      // kernel, copy, memset, host call; otherwise nothing
  CUevent event = nullptr;   // event record and wait
  Graph* child = nullptr;    // owned, of a child graph node
  bool enabled = true;
  Node* cloned_from = nullptr;  // identity only: it may be gone
  CUgraphNode handle() { return reinterpret_cast<CUgraphNode>(this); }
};

struct Graph {
  std::vector<Node*> nodes;  // in the order they were added
  std::uint64_t id = 0;
  Node* parent = nullptr;     // the child graph node that owns it
  bool is_capturing = false;  // a capture owns it until it ends
  CUgraph handle() { return reinterpret_cast<CUgraph>(this); }
};

/// A node of an instance; `origin` names the graph's node, which may be gone.
struct ExecNode {
  const Node* origin = nullptr;
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  Work work = Marker{};
  CUevent event = nullptr;
  bool enabled = true;
  std::vector<std::size_t> after;  // indices in the instance
};

/// Child graphs are spread out: entry and exit are nodes of their own.
struct GraphExec {
  std::vector<ExecNode> nodes;  // each after what it depends on
  std::uint64_t flags = 0;
  Context* context = nullptr;
  OpRef last;  // end of the newest launch: launches never overlap
  /// The graph as it was, to be added to a graph that is captured. Owned.
  Graph* source = nullptr;
  CUgraphExec handle() { return reinterpret_cast<CUgraphExec>(this); }
};

}  // namespace fico::emulator
