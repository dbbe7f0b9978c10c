// The nodes of a graph: going through them, and moving kernels to another context.
#pragma once

#include <cuda.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cuda/driver.hpp"
#include "hook/streams.hpp"

namespace fico::hook {

// Calls visit(graph, node, type) for every node, those of child graphs included, until one returns
// false; false then, or if the driver does not tell the nodes.
template <class Visit>
bool visit_nodes(CUgraph graph, Visit visit) {
  const cuda::Driver& d = cuda::driver();
  std::size_t count = 0;
  if (d.graph_nodes(graph, nullptr, &count) != CUDA_SUCCESS) return false;
  std::vector<CUgraphNode> nodes(count);
  if (count != 0 && d.graph_nodes(graph, nodes.data(), &count) != CUDA_SUCCESS) return false;
  return std::ranges::all_of(nodes, [&](CUgraphNode node) {
    CUgraphNodeType type{};
    if (d.graph_node_type(node, &type) != CUDA_SUCCESS || !visit(graph, node, type)) return false;
    if (type != CU_GRAPH_NODE_TYPE_GRAPH) return true;
    CUgraph child = nullptr;
    return d.graph_child(node, &child) == CUDA_SUCCESS && visit_nodes(child, visit);
  });
}

// The nodes of a graph, each after all that it depends on; of those that could come next, the one
// that the driver lists first. Nothing if the driver does not tell.
std::optional<std::vector<CUgraphNode>> nodes_in_order(CUgraph graph);

// Enters for every node inside the child graphs of `graph` the node that stands for it in `clone`,
// which the driver can't be asked for: a clone's child graphs are clones of their own.
void map_children(CUgraph graph, CUgraph clone, std::unordered_map<CUgraphNode, CUgraphNode>& map);

// Moves the kernels of a graph of ours to the partition of a place, at its priority if a policy
// chose that. Topology, attributes and all other nodes stay. False if one of them can't be moved:
// the graph is then of no use.
bool move_kernels(CUgraph graph, const Place& to);

// Puts another child graph in the place of a child-graph node; `node` becomes the new node.
CUresult replace_child(CUgraph graph, CUgraphNode& node, CUgraph child);

// Captures of our own, by which the program's calls beside them are told apart from its mistakes.
struct Rebuilds {
  std::atomic<std::uint32_t> begun{0};
  std::atomic<std::uint32_t> ended{0};
};
inline Rebuilds rebuilds;

}  // namespace fico::hook
