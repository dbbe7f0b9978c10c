#include "hook/live.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/log.hpp"
#include "hook/graph_nodes.hpp"
#include "hook/kernels.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {

Live* Live::self() {
  static Live* const live = []() -> Live* {
    const char* path = std::getenv("FICO_PROFILE_TABLE");  // NOLINT(concurrency-mt-unsafe)
    if (path == nullptr || *path == 0 || !Tenant::self().is_active()) return nullptr;
    try {
      return new Live(profile::Table::open(path));
    } catch (const std::exception& error) {
      base::log_line("the program runs as without a profile: %s", error.what());
      return nullptr;
    }
  }();
  return live;
}

Live::Live(profile::Table table) : table_(std::move(table)), tracker_(table_) {
  const std::uint32_t units = Tenant::self().session().unit_count;
  for (const profile::TableTrace& range : table_.traces()) {
    const auto kernels = table_.kernels().subspan(range.first, range.last - range.first);
    profile::Trace trace{{kernels.begin(), kernels.end()}, true};
    graph_plans_.push_back(std::make_shared<sched::Plan>(sched::plan(trace, {}, units)));
    trace.from_graph = false;
    eager_plans_.push_back(std::make_shared<sched::Plan>(sched::plan(trace, {}, units)));
  }
}

std::optional<Live::Position> Live::launched(CUfunction function, profile::Dim grid,
                                             profile::Dim block) {
  const std::uint64_t signature = profile::signature(kernel_of(function).name_hash, grid, block);
  const std::lock_guard lock(mutex_);
  const sched::Tracker::Step now = step(signature);
  if (!now.launch) return std::nullopt;
  const std::uint32_t trace = tracker_.trace_of(*now.launch);
  return Position{&eager_plans_[trace], *now.launch - table_.traces()[trace].first, now.completes};
}

namespace {

void add_kernels(CUgraph graph, std::vector<std::uint64_t>& signatures) {
  const std::optional<std::vector<CUgraphNode>> nodes = nodes_in_order(graph);
  if (!nodes) return;
  const cuda::Driver& d = cuda::driver();
  for (CUgraphNode node : *nodes) {
    CUgraphNodeType type{};
    CUgraph child = nullptr;
    if (d.graph_node_type(node, &type) != CUDA_SUCCESS) return;
    if (type == CU_GRAPH_NODE_TYPE_GRAPH && d.graph_child(node, &child) == CUDA_SUCCESS) {
      add_kernels(child, signatures);
    }
    CUDA_KERNEL_NODE_PARAMS p{};
    if (type != CU_GRAPH_NODE_TYPE_KERNEL || d.graph_kernel_get(node, &p) != CUDA_SUCCESS) continue;
    CUfunction function = p.func != nullptr ? p.func : reinterpret_cast<CUfunction>(p.kern);
    signatures.push_back(profile::signature(kernel_of(function).name_hash,
                                            {p.gridDimX, p.gridDimY, p.gridDimZ},
                                            {p.blockDimX, p.blockDimY, p.blockDimZ}));
  }
}

}  // namespace

Live::Sequence Live::sequence_of(CUgraph graph) {
  Sequence sequence;
  add_kernels(graph, sequence.signatures);
  const Live* live = self();
  if (live == nullptr) return sequence;
  sequence.trace = live->tracker_.trace_of_graph(sequence.signatures).value_or(kNoTrace);
  return sequence;
}

void Live::launched(const Sequence& graph) {
  const std::lock_guard lock(mutex_);
  if (graph.trace == kNoTrace || !tracker_.between_requests()) {
    for (const std::uint64_t signature : graph.signatures) step(signature);
    return;
  }
  tracker_.launched_whole(graph.trace);
  Tenant::self().count(Counter::requests);
  publish(table_.traces()[graph.trace].last - 1);
}

sched::Tracker::Step Live::step(std::uint64_t signature) {
  const sched::Tracker::Step step = tracker_.launched(signature);
  Tenant& tenant = Tenant::self();
  if (!step.launch) {
    tenant.count(Counter::unprofiled_launches);
    return step;
  }
  if (step.resynced) tenant.count(Counter::resyncs);
  if (step.completes) tenant.count(Counter::requests);
  publish(*step.launch);
  return step;
}

void Live::publish(std::uint32_t launch) {
  const std::uint32_t trace = tracker_.trace_of(launch);
  const profile::TableTrace& range = table_.traces()[trace];
  Tenant::self().publish({trace + 1, launch - range.first + 1, range.last - range.first,
                          table_.launches()[launch].remaining_us});
}

}  // namespace fico::hook
