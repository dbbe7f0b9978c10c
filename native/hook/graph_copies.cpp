#include "hook/graph_copies.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/limit.hpp"
#include "hook/builder.hpp"
#include "hook/graph_nodes.hpp"
#include "hook/pacer.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {
namespace {

const cuda::Driver& d() { return cuda::driver(); }

// Node types that a copy of the graph may hold beside the original's: no memory that is allocated
// by a node (it has one owner), nothing that starts other graphs.
bool can_be_copied(CUgraphNodeType type) {
  return type == CU_GRAPH_NODE_TYPE_KERNEL || type == CU_GRAPH_NODE_TYPE_MEMCPY ||
         type == CU_GRAPH_NODE_TYPE_MEMSET || type == CU_GRAPH_NODE_TYPE_HOST ||
         type == CU_GRAPH_NODE_TYPE_GRAPH || type == CU_GRAPH_NODE_TYPE_EMPTY ||
         type == CU_GRAPH_NODE_TYPE_WAIT_EVENT || type == CU_GRAPH_NODE_TYPE_EVENT_RECORD ||
         type == CU_GRAPH_NODE_TYPE_EXT_SEMAS_SIGNAL || type == CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT ||
         type == CU_GRAPH_NODE_TYPE_BATCH_MEM_OP;
}

}  // namespace

bool GraphCopies::builds_at_launch() {
  static const bool at_launch = [] {
    const char* text = std::getenv("FICO_GRAPH_BUILD");  // NOLINT(concurrency-mt-unsafe)
    return text != nullptr && std::strcmp(text, "launch") == 0;
  }();
  return at_launch;
}

std::size_t GraphCopies::max_nodes() {
  static const std::size_t most = base::limit("FICO_GRAPH_NODES", kMaxNodes);
  return most;
}

GraphCopies::All& GraphCopies::all() {
  static auto* all = new All;
  return *all;
}

GraphCopies::GraphCopies(CUcontext context, unsigned long long flags)
    : context_(context), flags_(flags) {
  const std::lock_guard lock(all().mutex);
  all().graphs.insert(this);
}

GraphCopies::~GraphCopies() {
  {
    const std::lock_guard lock(all().mutex);
    all().graphs.erase(this);
  }
  const cuda::RelaxedCapture relaxed;
  destroy();
  if (graph_ != nullptr) d().graph_destroy(graph_);
}

void GraphCopies::destroy() {
  {
    const std::lock_guard lock(instances_mutex_);
    while (!instances_.empty()) drop(instances_.begin());
  }
  home_is_built_ = false;
  pieces_.reset();
  sequence_.reset();
}

void GraphCopies::adopt(CUgraph graph) {
  const std::lock_guard lock(build_mutex_);
  const cuda::RelaxedCapture relaxed;
  destroy();
  if (graph_ != nullptr) d().graph_destroy(graph_);
  graph_ = nullptr;
  replaced_.clear();
  if ((flags_ & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) != 0 || d().graph_clone == nullptr ||
      d().graph_kernel_set == nullptr) {
    return;
  }
  const bool copyable = visit_nodes(
      graph, [](CUgraph, CUgraphNode, CUgraphNodeType type) { return can_be_copied(type); });
  if (!copyable) return;
  if (d().graph_clone(&graph_, graph) == CUDA_SUCCESS) {
    map_children(graph, graph_, replaced_);
  } else {
    graph_ = nullptr;
  }
}

void GraphCopies::give_up(const char* reason) {
  const std::lock_guard lock(build_mutex_);
  const cuda::RelaxedCapture relaxed;
  destroy();
  if (graph_ != nullptr) d().graph_destroy(graph_);
  graph_ = nullptr;
  why_not_ = reason;
}

CUgraphNode GraphCopies::own_node(CUgraphNode node) const {
  if (const auto found = replaced_.find(node); found != replaced_.end()) return found->second;
  CUgraphNode ours = nullptr;
  return d().graph_node_in_clone(&ours, node, graph_) == CUDA_SUCCESS ? ours : nullptr;
}

const Live::Sequence& GraphCopies::sequence() {
  if (!sequence_) {
    const std::lock_guard lock(build_mutex_);
    sequence_ = Live::sequence_of(graph_);
  }
  return *sequence_;
}

const GraphPieces& GraphCopies::pieces() {
  if (pieces_ == nullptr) {
    const Live::Sequence& kernels = sequence();
    const std::lock_guard lock(build_mutex_);
    const cuda::RelaxedCapture relaxed;
    pieces_ = std::make_unique<GraphPieces>(graph_, kernels, Pacer::self().last_alone_us(),
                                            Tenant::self().session().unit_count);
  }
  return *pieces_;
}

GraphCopies::Spot GraphCopies::spot_of(const Place& place) {
  return {place.partition, place.ranked ? place.priority : 0};
}

std::optional<CUgraphExec> GraphCopies::find(Segment segment, const Place& place) {
  const std::lock_guard lock(instances_mutex_);
  const auto instances = instances_.find(spot_of(place));
  if (instances == instances_.end()) return std::nullopt;
  const auto built = instances->second.built.find(segment);
  if (built == instances->second.built.end()) return std::nullopt;
  return built->second;
}

bool GraphCopies::can_go_in_pieces() {
  if (home_is_built_) return true;
  if (!pieces().can_be_cut()) return false;
  const auto works = static_cast<std::uint32_t>(pieces().plan()->work.size());
  for (std::uint32_t work = 0; work < works; ++work) {
    if (builds_at_launch()) build({work, work + 1}, {});
    const std::optional<CUgraphExec> built = find({work, work + 1}, {});
    if (!built) build_works_soon({});
    if (built.value_or(nullptr) == nullptr) return false;
  }
  home_is_built_ = true;
  return true;
}

GraphCopies::Found GraphCopies::launch(Segment segment, const Place& place, CUstream stream,
                                       Launch real, CUresult& result) {
  const std::lock_guard lock(instances_mutex_);
  const auto instances = instances_.find(spot_of(place));
  if (instances == instances_.end()) return Found::kMissing;
  const auto built = instances->second.built.find(segment);
  if (built == instances->second.built.end()) return Found::kMissing;
  if (built->second == nullptr) return Found::kImpossible;
  instances->second.used = ++all().launches;
  result = real(built->second, stream);
  return Found::kLaunched;
}

void GraphCopies::build_soon(Segment segment, const Place& place) {
  if (segment != kWhole && segment.last - segment.first > 1) {
    const std::lock_guard lock(instances_mutex_);
    const auto instances = instances_.find(spot_of(place));
    if (instances == instances_.end()) return;  // works by themselves come first
    auto& wanted = instances->second.wanted;
    const auto times = wanted.find(segment);
    if (times == wanted.end() && wanted.size() >= kMaxRows) return;
    if (++wanted[segment] != kOften) return;
  }
  order(segment, place);
}

void GraphCopies::build_works_soon(const Place& place) {
  const auto works = static_cast<std::uint32_t>(pieces().plan()->work.size());
  for (std::uint32_t work = 0; work < works; ++work) order({work, work + 1}, place);
}

void GraphCopies::order(Segment segment, const Place& place) {
  {
    const std::lock_guard lock(instances_mutex_);
    if (!ordered_.emplace(spot_of(place), segment).second) return;
  }
  Builder::self().order([weak = weak_from_this(), segment, place] {
    const auto graph = weak.lock();
    if (graph == nullptr) return;
    graph->build(segment, place);
    const std::lock_guard lock(graph->instances_mutex_);
    graph->ordered_.erase({spot_of(place), segment});
  });
}

void GraphCopies::build(Segment segment, const Place& place) {
  const std::lock_guard lock(build_mutex_);
  if (graph_ == nullptr || find(segment, place)) return;
  if (segment != kWhole && (pieces_ == nullptr || segment.last > pieces_->plan()->work.size())) {
    return;
  }
  const cuda::Current current(context_);
  const cuda::RelaxedCapture relaxed;
  // A second try: a call of the program's in another thread may have ended our capture.
  std::size_t nodes = 0;
  CUgraphExec made = instantiate(segment, place, nodes);
  if (made == nullptr) made = instantiate(segment, place, nodes);
  const Spot spot = spot_of(place);
  if (made != nullptr) {
    Tenant::count(Counter::graphs_rebuilt);
    make_room(nodes, spot);
  }
  const std::lock_guard instances_lock(instances_mutex_);
  Instances& instances = instances_[spot];
  instances.built[segment] = made;
  instances.used = ++all().launches;
  if (made == nullptr) return;
  instances.nodes += nodes;
  all().nodes += nodes;
}

// One that still runs may be destroyed: the driver keeps it until it has ended.
void GraphCopies::drop(std::map<Spot, Instances>::iterator instances) {
  for (auto& [segment, exec] : instances->second.built) {
    if (exec != nullptr) d().graph_exec_destroy(exec);
  }
  all().nodes -= instances->second.nodes;
  instances_.erase(instances);
}

// The place that a graph used last stays: a program may have more graphs than fit.
void GraphCopies::make_room(std::size_t nodes, const Spot& spot) {
  const std::lock_guard lock(all().mutex);
  while (all().nodes + nodes > max_nodes()) {
    GraphCopies* owner = nullptr;
    Spot oldest{};
    std::uint64_t used = 0;
    for (GraphCopies* graph : all().graphs) {
      const std::lock_guard instances_lock(graph->instances_mutex_);
      const Spot kept = graph == this ? spot : graph->last_used();
      for (const auto& [at, instances] : graph->instances_) {
        if (at.partition == nullptr || at == kept) continue;
        if (owner != nullptr && instances.used >= used) continue;
        owner = graph;
        oldest = at;
        used = instances.used;
      }
    }
    if (owner == nullptr) return;
    const std::lock_guard instances_lock(owner->instances_mutex_);
    const auto at = owner->instances_.find(oldest);
    // Not if it was used meanwhile: then another one is the oldest.
    if (at != owner->instances_.end() && at->second.used == used) owner->drop(at);
  }
}

GraphCopies::Spot GraphCopies::last_used() const {
  Spot last{};
  std::uint64_t used = 0;
  for (const auto& [at, instances] : instances_) {
    if (at.partition == nullptr || instances.used < used) continue;
    last = at;
    used = instances.used;
  }
  return last;
}

// From a clone of its own: ours keeps the nodes that later changes name.
CUgraphExec GraphCopies::instantiate(Segment segment, const Place& place,
                                     std::size_t& nodes) const {
  CUgraph moved = nullptr;
  CUgraphExec made = nullptr;
  if (segment != kWhole) {
    moved = pieces_->cut_out(segment);
  } else if (d().graph_clone(&moved, graph_) != CUDA_SUCCESS) {
    moved = nullptr;
  }
  if (moved == nullptr) return nullptr;
  const bool good = place.partition == nullptr || move_kernels(moved, place);
  d().graph_nodes(moved, nullptr, &nodes);
  if (!good || d().graph_instantiate(&made, moved, flags_) != CUDA_SUCCESS) made = nullptr;
  d().graph_destroy(moved);
  return made;
}

}  // namespace fico::hook
