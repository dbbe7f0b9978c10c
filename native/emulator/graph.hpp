// Graphs, their nodes and their executable instances.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "emulator/op.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {

/// What a node does, in a graph and in an instance.
struct NodeTask {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  Work work = Marker{};     // of a kernel, copy, memset or host node
  CUevent event = nullptr;  // of an event node
};

struct Node {
  NodeTask task;
  Graph* graph = nullptr;
  std::uint64_t id = 0;               // never used again: instances and clones name nodes by it
  std::uint64_t cloned_from = 0;      // the id of the node that this one is a copy of
  std::vector<Node*> after;           // what it depends on
  Graph* child = nullptr;             // of a child graph node, which owns it
  std::vector<void*> param_pointers;  // given out by cuGraphKernelNodeGetParams

  CUgraphNode handle() { return reinterpret_cast<CUgraphNode>(this); }
};

struct Graph {
  std::vector<Node*> nodes;  // in the order they were added
  bool is_captured = false;  // a capture fills it now
  bool is_child = false;     // a node owns it

  CUgraph handle() { return reinterpret_cast<CUgraph>(this); }
};

/// A node of an instance. Child graphs are spread out between two empty nodes.
struct ExecNode {
  NodeTask task;
  std::uint64_t id = 0;      // of this node of this instance
  std::uint64_t origin = 0;  // id of the graph's node; 0 for the end of a child graph
  bool enabled = true;
  std::vector<std::size_t> after;  // indices of earlier nodes
};

struct GraphExec {
  std::vector<ExecNode> nodes;  // each after what it depends on
  std::uint64_t id = 0;
  std::uint64_t flags = 0;
  OpRef last;  // end of the newest launch: launches never overlap

  CUgraphExec handle() { return reinterpret_cast<CUgraphExec>(this); }
};

Graph& graph_of(Runtime& rt, CUgraph handle);
Node& node_of(Runtime& rt, CUgraphNode handle);
/// The node, which must be of this type: INVALID_VALUE.
Node& node_of(Runtime& rt, CUgraphNode handle, CUgraphNodeType type);

Graph& make_graph(Runtime& rt);
void destroy_graph(Runtime& rt, Graph& graph);
/// A copy with its child graphs; the nodes remember what they were copied from.
Graph& clone_graph(Runtime& rt, const Graph& graph);

Node& add_node(Runtime& rt, Graph& graph, NodeTask task, std::span<Node* const> after);
/// With handles, as the API gives them; they must be of this graph.
Node& add_node(Runtime& rt, CUgraph graph, NodeTask task, const CUgraphNode* after,
               std::size_t count);
/// True where `node` is `other` or comes, however indirectly, after it.
bool is_at_or_after(const Node& node, const Node& other);

/// The nodes of a graph, child graphs spread out, in an order that keeps the dependencies.
std::vector<ExecNode> flatten(const Graph& graph);
/// A graph that does what the instance does now.
Graph& graph_from(Runtime& rt, const GraphExec& exec);

CUgraphNodeType type_of(const Work& work);

}  // namespace fico::emulator
