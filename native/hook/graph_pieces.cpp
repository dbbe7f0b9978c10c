#include "hook/graph_pieces.hpp"

#include <algorithm>
#include <optional>

#include "cuda/driver.hpp"
#include "hook/graph_nodes.hpp"
#include "sched/unprofiled.hpp"

namespace fico::hook {
namespace {

const cuda::Driver& d() { return cuda::driver(); }

// Of a graph that the profile does not know: at some 6 us a kernel (docs/results.md, batch 8).
constexpr std::uint32_t kKernelsEach = 16;
constexpr double kKernel_us = 6;

// How many kernels a node of the graph stands for; nothing if the driver does not tell.
std::optional<std::uint32_t> kernels_in(CUgraphNode node) {
  CUgraphNodeType type{};
  if (d().graph_node_type(node, &type) != CUDA_SUCCESS) return std::nullopt;
  if (type == CU_GRAPH_NODE_TYPE_KERNEL) return 1;
  if (type != CU_GRAPH_NODE_TYPE_GRAPH) return 0;
  CUgraph child = nullptr;
  if (d().graph_child(node, &child) != CUDA_SUCCESS) return std::nullopt;
  std::uint32_t kernels = 0;
  const bool known = visit_nodes(child, [&](CUgraph, CUgraphNode, CUgraphNodeType inner) {
    kernels += inner == CU_GRAPH_NODE_TYPE_KERNEL ? 1 : 0;
    return true;
  });
  return known ? std::optional(kernels) : std::nullopt;
}

}  // namespace

GraphPieces::GraphPieces(CUgraph graph, const Live::Sequence& sequence, double last_alone_us,
                         std::uint32_t unit_count)
    : graph_(graph) {
  const auto kernels = static_cast<std::uint32_t>(sequence.signatures.size());
  if (sequence.trace != Live::kNoTrace) {
    plan_ = Live::self()->plan_of_graph(sequence.trace);
  } else {
    const double total_us = last_alone_us > 0 ? last_alone_us : kKernel_us * kernels;
    plan_ = std::make_shared<sched::Plan>(
        sched::unprofiled_plan(kernels, kKernelsEach, total_us, unit_count));
  }
  const std::optional<std::vector<CUgraphNode>> nodes = nodes_in_order(graph);
  if (nodes && !cut(*nodes)) ends_.clear();
  graphs_.resize(ends_.size());
}

GraphPieces::~GraphPieces() {
  const cuda::RelaxedCapture relaxed;
  for (CUgraph graph : graphs_) {
    if (graph != nullptr) d().graph_destroy(graph);
  }
}

// Nodes that are no kernels go with the next kernel; those after the last one with that.
bool GraphPieces::cut(const std::vector<CUgraphNode>& nodes) {
  nodes_ = nodes;
  std::uint32_t kernels = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const std::optional<std::uint32_t> inside = kernels_in(nodes[i]);
    if (!inside) return false;
    kernels += *inside;
    if (ends_.size() == plan_->work.size()) {
      if (*inside != 0) return false;
      ends_.back() = i + 1;
      continue;
    }
    const std::uint32_t last = plan_->work[ends_.size()].last;
    if (kernels > last) return false;  // a child graph across a cut
    if (kernels == last) ends_.push_back(i + 1);
  }
  return ends_.size() == plan_->work.size() && ends_.back() == nodes.size();
}

CUgraph GraphPieces::graph_of(std::uint32_t work) {
  if (graphs_[work] != nullptr) return graphs_[work];
  const std::size_t first = work == 0 ? 0 : ends_[work - 1];
  const std::size_t last = ends_[work];
  CUgraph clone = nullptr;
  if (d().graph_clone(&clone, graph_) != CUDA_SUCCESS) return nullptr;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (i >= first && i < last) continue;
    CUgraphNode node = nullptr;
    if (d().graph_node_in_clone(&node, nodes_[i], clone) != CUDA_SUCCESS ||
        d().graph_destroy_node(node) != CUDA_SUCCESS) {
      d().graph_destroy(clone);
      return nullptr;
    }
  }
  graphs_[work] = clone;
  return clone;
}

}  // namespace fico::hook
