#include "hook/live.hpp"

#include <algorithm>
#include <cstdlib>

#include "base/log.hpp"
#include "hook/graph_nodes.hpp"
#include "hook/kernels.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {

Live* Live::make() {
  static Live* const live = []() -> Live* {
    const char* path = std::getenv("FICO_PROFILE_TABLE");  // NOLINT(concurrency-mt-unsafe)
    if (path == nullptr || *path == 0 || !Tenant::is_active()) return nullptr;
    try {
      return new Live(profile::Table::open(path));
    } catch (const std::exception& error) {
      base::log_line("the program runs as without a profile: %s", error.what());
      return nullptr;
    }
  }();
  hot.live.store(live, std::memory_order_relaxed);
  hot.is_live_known.store(true, std::memory_order_release);
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

void Live::note(CUfunction function, profile::Dim grid, profile::Dim block) {
  const std::uint64_t signature = profile::signature(kernel_of(function).name_hash, grid, block);
  const std::lock_guard lock(mutex_);
  if (noted_count_ == noted_.size()) find_noted();
  noted_[noted_count_++] = signature;
  is_behind_.store(true, std::memory_order_relaxed);
}

void Live::find_noted() {
  for (std::uint32_t i = 0; i < noted_count_; ++i) step(noted_[i]);
  noted_count_ = 0;
}

std::unique_lock<std::mutex> Live::caught_up() {
  std::unique_lock lock(mutex_);
  find_noted();
  return lock;
}

void Live::catch_up() {
  if (!is_behind_.load(std::memory_order_relaxed)) return;
  const std::unique_lock lock = caught_up();
  publish();
  is_behind_.store(false, std::memory_order_relaxed);
}

std::optional<Live::Position> Live::launched(CUfunction function, profile::Dim grid,
                                             profile::Dim block) {
  const std::uint64_t signature = profile::signature(kernel_of(function).name_hash, grid, block);
  const std::unique_lock lock = caught_up();
  is_behind_.store(true, std::memory_order_relaxed);
  const sched::Tracker::Step now = step(signature);
  if (!now.launch) return std::nullopt;
  return Position{&eager_plans_[now.trace], *now.launch - table_.traces()[now.trace].first,
                  now.completes};
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
  const std::unique_lock lock = caught_up();
  is_behind_.store(true, std::memory_order_relaxed);
  if (graph.trace == kNoTrace || !tracker_.between_requests()) {
    for (const std::uint64_t signature : graph.signatures) step(signature);
    return;
  }
  tracker_.launched_whole(graph.trace);
  Tenant::count(Counter::requests);
  trace_ = graph.trace;
  launch_ = table_.traces()[graph.trace].last - 1;
}

sched::Tracker::Step Live::step(std::uint64_t signature) {
  const sched::Tracker::Step step = tracker_.launched(signature);
  if (!step.launch) {
    Tenant::count(Counter::unprofiled_launches);
    return step;
  }
  if (step.resynced) Tenant::count(Counter::resyncs);
  if (step.completes) Tenant::count(Counter::requests);
  trace_ = step.trace;
  launch_ = *step.launch;
  return step;
}

void Live::publish() {
  if (trace_ == kNoTrace) return;
  const profile::TableTrace& range = table_.traces()[trace_];
  Tenant::publish({trace_ + 1, launch_ - range.first + 1, range.last - range.first,
                   table_.launches()[launch_].remaining_us});
}

}  // namespace fico::hook
