#include "emulator/graph.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace fico::emulator {
namespace {

// Nodes in an order in which each comes after what it depends on; otherwise as they were added.
std::vector<Node*> in_order(const Graph& graph) {
  std::vector<Node*> order;
  std::set<const Node*> placed;
  while (order.size() < graph.nodes.size()) {
    const auto before = order.size();
    for (auto* node : graph.nodes) {
      const bool ready =
          std::ranges::all_of(node->after, [&](auto* n) { return placed.contains(n); });
      if (!ready || !placed.insert(node).second) continue;
      order.push_back(node);
    }
    require_value(order.size() > before);  // a cycle: nothing could be placed
  }
  return order;
}

// Appends the nodes of `graph`, its roots after `entry`, and gives its leaves.
std::vector<std::size_t> append(std::vector<ExecNode>& nodes, const Graph& graph,
                                const std::vector<std::size_t>& entry) {
  std::map<const Node*, std::size_t> index;
  std::set<std::size_t> leaves(entry.begin(), entry.end());
  for (auto* node : in_order(graph)) {
    ExecNode exec;
    exec.task = node->task;
    exec.origin = node->id;
    for (auto* earlier : node->after) exec.after.push_back(index.at(earlier));
    if (exec.after.empty()) exec.after = entry;
    for (auto earlier : exec.after) leaves.erase(earlier);
    nodes.push_back(std::move(exec));
    index[node] = nodes.size() - 1;
    if (node->child) {
      ExecNode end;
      end.after = append(nodes, *node->child, {nodes.size() - 1});
      nodes.push_back(std::move(end));
      index[node] = nodes.size() - 1;
    }
    leaves.insert(index[node]);
  }
  return {leaves.begin(), leaves.end()};
}

}  // namespace

Graph& graph_of(Runtime& rt, CUgraph handle) { return rt.graphs.get(handle); }

Node& node_of(Runtime& rt, CUgraphNode handle) { return rt.nodes.get(handle); }

Node& node_of(Runtime& rt, CUgraphNode handle, CUgraphNodeType type) {
  auto& node = rt.nodes.get(handle);
  require_value(node.task.type == type);
  return node;
}

Graph& make_graph(Runtime& rt) {
  auto graph = std::make_unique<Graph>();
  auto& made = *graph;
  rt.graphs.add<CUgraph>(std::move(graph));
  return made;
}

void destroy_graph(Runtime& rt, Graph& graph) {
  for (auto* node : graph.nodes) {
    if (node->child) destroy_graph(rt, *node->child);
    rt.nodes.remove(node);
  }
  rt.graphs.remove(&graph);
}

Node& add_node(Runtime& rt, Graph& graph, NodeTask task, std::span<Node* const> after) {
  auto node = std::make_unique<Node>();
  node->task = std::move(task);
  node->graph = &graph;
  node->id = rt.next_id++;
  for (auto* earlier : after) {
    const bool again = std::ranges::find(node->after, earlier) != node->after.end();
    if (!again) node->after.push_back(earlier);
  }
  auto& added = *node;
  rt.nodes.add<CUgraphNode>(std::move(node));
  graph.nodes.push_back(&added);
  return added;
}

Node& add_node(Runtime& rt, CUgraph handle, NodeTask task, const CUgraphNode* after,
               std::size_t count) {
  require_value(count == 0 || after != nullptr);
  auto& graph = graph_of(rt, handle);
  std::vector<Node*> earlier;
  for (std::size_t i = 0; i < count; ++i) {
    auto& node = node_of(rt, after[i]);
    require_value(node.graph == &graph);
    earlier.push_back(&node);
  }
  return add_node(rt, graph, std::move(task), earlier);
}

bool is_at_or_after(const Node& node, const Node& other) {
  std::vector<const Node*> stack{&node};
  std::set<const Node*> seen;
  while (!stack.empty()) {
    const auto* at = stack.back();
    stack.pop_back();
    if (at == &other) return true;
    if (!seen.insert(at).second) continue;
    stack.insert(stack.end(), at->after.begin(), at->after.end());
  }
  return false;
}

Graph& clone_graph(Runtime& rt, const Graph& graph) {
  auto& clone = make_graph(rt);
  std::map<const Node*, Node*> copies;
  for (auto* node : in_order(graph)) {
    std::vector<Node*> after;
    after.reserve(node->after.size());
    for (auto* earlier : node->after) after.push_back(copies.at(earlier));
    auto& copy = add_node(rt, clone, node->task, after);
    copy.cloned_from = node->id;
    if (node->child) {
      copy.child = &clone_graph(rt, *node->child);
      copy.child->is_child = true;
    }
    copies[node] = &copy;
  }
  return clone;
}

std::vector<ExecNode> flatten(const Graph& graph) {
  std::vector<ExecNode> nodes;
  append(nodes, graph, {});
  return nodes;
}

Graph& graph_from(Runtime& rt, const GraphExec& exec) {
  auto& graph = make_graph(rt);
  std::vector<Node*> made;
  for (const auto& node : exec.nodes) {
    std::vector<Node*> after;
    after.reserve(node.after.size());
    for (auto earlier : node.after) after.push_back(made[earlier]);
    NodeTask task = node.task;
    // Child graphs have been spread out, and what is disabled does nothing.
    if (!node.enabled || task.type == CU_GRAPH_NODE_TYPE_GRAPH) task = NodeTask{};
    made.push_back(&add_node(rt, graph, std::move(task), after));
  }
  return graph;
}

CUgraphNodeType type_of(const Work& work) {
  if (std::holds_alternative<Kernel>(work)) return CU_GRAPH_NODE_TYPE_KERNEL;
  if (std::holds_alternative<Copy>(work)) return CU_GRAPH_NODE_TYPE_MEMCPY;
  if (std::holds_alternative<Memset>(work)) return CU_GRAPH_NODE_TYPE_MEMSET;
  if (std::holds_alternative<HostCall>(work)) return CU_GRAPH_NODE_TYPE_HOST;
  return CU_GRAPH_NODE_TYPE_EMPTY;
}

}  // namespace fico::emulator
