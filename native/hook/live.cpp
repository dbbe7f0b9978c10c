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

void Live::launched(CUfunction function, profile::Dim grid, profile::Dim block) {
  const std::uint64_t signature = profile::signature(kernel_of(function).name_hash, grid, block);
  const std::lock_guard lock(mutex_);
  step(signature);
}

Live::Sequence Live::sequence_of(CUgraph graph) {
  Sequence sequence;
  visit_nodes(graph, [&](CUgraph, CUgraphNode node, CUgraphNodeType type) {
    if (type != CU_GRAPH_NODE_TYPE_KERNEL) return true;
    CUDA_KERNEL_NODE_PARAMS p{};
    if (cuda::driver().graph_kernel_get(node, &p) != CUDA_SUCCESS) return false;
    CUfunction function = p.func != nullptr ? p.func : reinterpret_cast<CUfunction>(p.kern);
    sequence.signatures.push_back(profile::signature(kernel_of(function).name_hash,
                                                     {p.gridDimX, p.gridDimY, p.gridDimZ},
                                                     {p.blockDimX, p.blockDimY, p.blockDimZ}));
    return true;
  });
  for (std::uint32_t trace = 0; trace < table_.traces().size(); ++trace) {
    const profile::TableTrace& range = table_.traces()[trace];
    const auto launches = table_.launches().subspan(range.first, range.last - range.first);
    if (std::ranges::equal(launches, sequence.signatures, {}, &profile::TableLaunch::signature)) {
      sequence.trace = trace;
    }
  }
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

void Live::step(std::uint64_t signature) {
  const sched::Tracker::Step step = tracker_.launched(signature);
  Tenant& tenant = Tenant::self();
  if (!step.launch) {
    tenant.count(Counter::unprofiled_launches);
    return;
  }
  if (step.resynced) tenant.count(Counter::resyncs);
  if (step.completes) tenant.count(Counter::requests);
  publish(*step.launch);
}

void Live::publish(std::uint32_t launch) {
  const std::uint32_t trace = tracker_.trace_of(launch);
  const profile::TableTrace& range = table_.traces()[trace];
  Tenant::self().publish({trace + 1, launch - range.first + 1, range.last - range.first},
                         table_.launches()[launch].remaining_us);
}

}  // namespace fico::hook
