// Graphs and how their nodes hang together: the entry points.
#include <algorithm>

#include "emulator/context.hpp"
#include "emulator/graph.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

// Lists are given out as the API does it: without an array their length; with one as much as fits,
// the rest of the array null, and the length that was written.
void give_nodes(const std::vector<Node*>& nodes, CUgraphNode* out, std::size_t* count) {
  require_value(count != nullptr);
  if (out) {
    for (std::size_t i = 0; i < *count; ++i) {
      out[i] = i < nodes.size() ? nodes[i]->handle() : nullptr;
    }
    *count = std::min(*count, nodes.size());
  } else {
    *count = nodes.size();
  }
}

void clear_edges(CUgraphEdgeData* edges, std::size_t count) {
  if (edges) std::fill_n(edges, count, CUgraphEdgeData{});
}

std::vector<Node*> dependents_of(const Node& node) {
  std::vector<Node*> dependents;
  for (auto* other : node.graph->nodes) {
    if (std::ranges::find(other->after, &node) != other->after.end()) dependents.push_back(other);
  }
  return dependents;
}

// Calls `change` with both ends of each edge, which are of this graph.
template <class Change>
CUresult change_edges(CUgraph handle, const CUgraphNode* from, const CUgraphNode* to,
                      std::size_t count, Change change) {
  return api([&](Call& call) {
    require_value(count == 0 || (from != nullptr && to != nullptr));
    auto& graph = graph_of(call.rt, handle);
    for (std::size_t i = 0; i < count; ++i) {
      auto& earlier = node_of(call.rt, from[i]);
      auto& later = node_of(call.rt, to[i]);
      require_value(earlier.graph == &graph && later.graph == &graph);
      change(earlier, later);
    }
    return CUDA_SUCCESS;
  });
}

}  // namespace
}  // namespace fico::emulator

CUresult cuGraphCreate(CUgraph* out, unsigned flags) {
  return api([&](Call& call) {
    require_value(out != nullptr && flags == 0);
    *out = make_graph(call.rt).handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphDestroy(CUgraph handle) {
  return api([&](Call& call) {
    auto& graph = graph_of(call.rt, handle);
    // A capture or a node owns it.
    require_value(!graph.is_captured && !graph.is_child);
    destroy_graph(call.rt, graph);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphClone(CUgraph* out, CUgraph original) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = clone_graph(call.rt, graph_of(call.rt, original)).handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeFindInClone(CUgraphNode* out, CUgraphNode original, CUgraph clone) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    const auto id = node_of(call.rt, original).id;
    const auto& nodes = graph_of(call.rt, clone).nodes;
    const auto copy = std::ranges::find(nodes, id, [](Node* n) { return n->cloned_from; });
    require_value(copy != nodes.end());
    *out = (*copy)->handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode* nodes, std::size_t* count) {
  return api([&](Call& call) {
    give_nodes(graph_of(call.rt, graph).nodes, nodes, count);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetRootNodes(CUgraph graph, CUgraphNode* nodes, std::size_t* count) {
  return api([&](Call& call) {
    std::vector<Node*> roots;
    std::ranges::copy_if(graph_of(call.rt, graph).nodes, std::back_inserter(roots),
                         [](Node* node) { return node->after.empty(); });
    give_nodes(roots, nodes, count);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode* from, CUgraphNode* to,
                            CUgraphEdgeData* edges, std::size_t* count) {
  return api([&](Call& call) {
    require_value((from != nullptr) == (to != nullptr) && count != nullptr);
    std::vector<Node*> earlier;
    std::vector<Node*> later;
    for (auto* node : graph_of(call.rt, graph).nodes) {
      for (auto* before : node->after) {
        earlier.push_back(before);
        later.push_back(node);
      }
    }
    if (from) clear_edges(edges, *count);
    auto same_count = *count;
    give_nodes(earlier, from, &same_count);
    give_nodes(later, to, count);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode* from, CUgraphNode* to, std::size_t* count) {
  return cuGraphGetEdges_v2(graph, from, to, nullptr, count);
}

CUresult cuGraphNodeGetType(CUgraphNode node, CUgraphNodeType* type) {
  return api([&](Call& call) {
    require_value(type != nullptr);
    *type = node_of(call.rt, node).task.type;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode* after, CUgraphEdgeData* edges,
                                       std::size_t* count) {
  return api([&](Call& call) {
    require_value(count != nullptr);
    if (after) clear_edges(edges, *count);
    give_nodes(node_of(call.rt, node).after, after, count);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode* after, std::size_t* count) {
  return cuGraphNodeGetDependencies_v2(node, after, nullptr, count);
}

CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode* dependents,
                                         CUgraphEdgeData* edges, std::size_t* count) {
  return api([&](Call& call) {
    require_value(count != nullptr);
    if (dependents) clear_edges(edges, *count);
    give_nodes(dependents_of(node_of(call.rt, node)), dependents, count);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode* dependents,
                                      std::size_t* count) {
  return cuGraphNodeGetDependentNodes_v2(node, dependents, nullptr, count);
}

CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData*, std::size_t count) {
  return change_edges(graph, from, to, count, [](Node& earlier, Node& later) {
    const bool there = std::ranges::find(later.after, &earlier) != later.after.end();
    require_value(!there && !is_at_or_after(earlier, later));
    later.after.push_back(&earlier);
  });
}

CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                std::size_t count) {
  return cuGraphAddDependencies_v2(graph, from, to, nullptr, count);
}

CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                      const CUgraphEdgeData*, std::size_t count) {
  return change_edges(graph, from, to, count, [](Node& earlier, Node& later) {
    require_value(std::erase(later.after, &earlier) == 1);
  });
}

CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   std::size_t count) {
  return cuGraphRemoveDependencies_v2(graph, from, to, nullptr, count);
}

CUresult cuGraphDestroyNode(CUgraphNode handle) {
  return api([&](Call& call) {
    auto& node = node_of(call.rt, handle);
    auto& graph = *node.graph;
    require_value(!graph.is_captured);
    for (auto* dependent : dependents_of(node)) std::erase(dependent->after, &node);
    if (node.child) destroy_graph(call.rt, *node.child);
    std::erase(graph.nodes, &node);
    call.rt.nodes.remove(handle);
    return CUDA_SUCCESS;
  });
}
