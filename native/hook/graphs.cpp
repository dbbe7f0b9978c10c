#include "hook/graphs.hpp"

#include <mutex>
#include <optional>

#include "cuda/driver.hpp"
#include "hook/graph_nodes.hpp"
#include "hook/live.hpp"
#include "hook/streams.hpp"
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

Graphs& Graphs::self() {
  static auto* graphs = new Graphs;
  return *graphs;
}

void Graphs::adopt(Exec& entry, CUgraph graph) {
  const cuda::RelaxedCapture relaxed;
  if (entry.graph != nullptr) d().graph_destroy(entry.graph);
  entry.graph = nullptr;
  entry.replaced.clear();
  entry.sequence.reset();
  entry.nodes = 0;
  if ((entry.flags & CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH) != 0 ||
      d().graph_clone == nullptr || d().graph_kernel_set == nullptr) {
    return;
  }
  const bool copyable = visit_nodes(
      graph, [](CUgraph, CUgraphNode, CUgraphNodeType type) { return can_be_copied(type); });
  if (!copyable) return;
  if (d().graph_clone(&entry.graph, graph) == CUDA_SUCCESS) {
    map_children(graph, entry.graph, entry.replaced);
    visit_nodes(entry.graph, [&](CUgraph, CUgraphNode, CUgraphNodeType) {
      ++entry.nodes;
      return true;
    });
  } else {
    entry.graph = nullptr;
  }
}

void Graphs::instantiated(CUgraphExec exec, CUgraph graph, unsigned long long flags) {
  if (!Tenant::self().is_active()) return;
  const Context* context = Streams::self().current_context();
  if (context == nullptr || !context->confinable) return;
  auto entry = std::make_shared<Exec>();
  entry->flags = flags & ~static_cast<unsigned long long>(CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD);
  adopt(*entry, graph);
  const std::lock_guard lock(mutex_);
  execs_[exec] = std::move(entry);
}

std::shared_ptr<Graphs::Exec> Graphs::find(CUgraphExec exec) {
  if (!Tenant::self().is_active()) return nullptr;
  const std::shared_lock lock(mutex_);
  const auto found = execs_.find(exec);
  return found == execs_.end() ? nullptr : found->second;
}

void Graphs::give_up(Exec& entry, const char* reason) {
  if (entry.graph != nullptr) d().graph_destroy(entry.graph);
  entry.graph = nullptr;
  entry.why_open = reason;
}

void Graphs::drop_variants(Exec& entry) {
  const cuda::RelaxedCapture relaxed;
  make_room(entry, kMaxCopies * entry.nodes + 1);
  entry.pieces.reset();
}

// Destroys the oldest variants. One that still runs may be: the driver keeps it until it has ended.
void Graphs::make_room(Exec& entry, std::size_t nodes) {
  while (!entry.built.empty() && entry.copied_nodes + nodes > kMaxCopies * entry.nodes) {
    const auto oldest = entry.variants.find(entry.built.front());
    entry.built.pop_front();
    entry.copied_nodes -= nodes_in(entry, oldest->first);
    if (oldest->second != nullptr) d().graph_exec_destroy(oldest->second);
    entry.variants.erase(oldest);
    entry.last_exec = nullptr;  // its address may come back as that of another
  }
}

std::size_t Graphs::nodes_in(const Exec& entry, const Variant& variant) {
  return variant.segment == kWhole ? entry.nodes : entry.pieces->nodes_in(variant.segment);
}

CUgraphExec Graphs::variant_for(Exec& entry, GraphPieces::Segment segment, const Place& place) {
  const Variant variant{segment, place.partition, place.ranked ? place.priority : 0};
  if (const auto known = entry.variants.find(variant); known != entry.variants.end()) {
    return known->second;
  }
  const cuda::RelaxedCapture relaxed;
  make_room(entry, nodes_in(entry, variant));
  CUgraph graph = segment == kWhole ? entry.graph : entry.pieces->graph_of(segment);
  // A second try: a call of the program's in another thread may have ended our capture.
  CUgraphExec made = build(entry, graph, place);
  if (made == nullptr) made = build(entry, graph, place);
  entry.variants[variant] = made;
  entry.built.push_back(variant);
  entry.copied_nodes += nodes_in(entry, variant);
  if (made != nullptr) Tenant::self().count(Counter::graphs_rebuilt);
  return made;
}

// From a clone of its own: ours keeps the nodes that later changes name.
CUgraphExec Graphs::build(const Exec& entry, CUgraph graph, const Place& place) {
  CUgraph moved = nullptr;
  CUgraphExec made = nullptr;
  if (graph == nullptr || d().graph_clone(&moved, graph) != CUDA_SUCCESS) return nullptr;
  const bool good = place.partition == nullptr || move_kernels(moved, place);
  if (!good || d().graph_instantiate(&made, moved, entry.flags) != CUDA_SUCCESS) made = nullptr;
  d().graph_destroy(moved);
  return made;
}

const char* Graphs::why_open(const Exec* entry) {
  if (entry == nullptr) return "a graph that was instantiated past the library";
  return entry->graph == nullptr ? entry->why_open : "a partition can't take a kernel of a graph";
}

CUresult Graphs::launch(CUgraphExec exec, CUstream stream, bool per_thread, Launch real) {
  Tenant& tenant = Tenant::self();
  const std::shared_ptr<Exec> entry = find(exec);
  const std::unique_lock exec_lock =
      entry != nullptr ? std::unique_lock(entry->mutex) : std::unique_lock<std::mutex>();
  const bool captures = Streams::self().captures.load(std::memory_order_acquire) > 0;
  if (entry != nullptr && entry->graph != nullptr && !captures && Pacer::is_on()) {
    if (entry->pieces == nullptr) {
      const cuda::RelaxedCapture relaxed;
      entry->pieces =
          std::make_unique<GraphPieces>(entry->graph, sequence_of(*entry),
                                        Pacer::self().last_alone_us(), tenant.session().unit_count);
    }
    if (auto turn = Pacer::self().begin_graph(entry->pieces->plan())) {
      return launch_pieces(entry, exec, stream, per_thread, real, *turn);
    }
    tenant.count(Counter::unscheduled_launches);
  }
  const Target target = Pacer::is_on() ? Pacer::self().fallback() : Target{};
  const Issue issue(stream, per_thread, Work::kLaunch, &target);
  if (issue.is_captured()) {
    tenant.count(Counter::captured_launches);
    return real(exec, issue.stream());
  }
  note_launch(entry.get());
  issue.count_if_open();
  return launch_whole(entry, exec, issue, real);
}

const Live::Sequence& Graphs::sequence_of(Exec& entry) {
  if (!entry.sequence) entry.sequence = Live::sequence_of(entry.graph);
  return *entry.sequence;
}

void Graphs::note_launch(Exec* entry) {
  Tenant::self().count(Counter::graph_launches);
  if (Live* live = Live::self(); live != nullptr && entry != nullptr) {
    live->launched(sequence_of(*entry));
  }
}

// Where the stream is.
CUresult Graphs::launch_whole(const std::shared_ptr<Exec>& entry, CUgraphExec exec,
                              const Issue& issue, Launch real) {
  CUgraphExec chosen = exec;
  if (issue.is_on_partition()) {
    CUgraphExec variant = entry != nullptr && entry->graph != nullptr
                              ? variant_for(*entry, kWhole, issue.place())
                              : nullptr;
    if (variant != nullptr) {
      chosen = variant;
    } else {
      Tenant::self().count(Counter::open_graphs, why_open(entry.get()));
    }
  }
  if (entry == nullptr) return real(chosen, issue.stream());
  if (entry->last != nullptr && entry->last_exec != chosen)
    d().stream_wait(issue.stream(), entry->last, 0);
  const CUresult result = real(chosen, issue.stream());
  if (result == CUDA_SUCCESS) ended(entry, issue, chosen, chosen != exec);
  return result;
}

// The stream's lock is held from the first piece to the last, so that nothing of other threads
// comes between them.
CUresult Graphs::launch_pieces(const std::shared_ptr<Exec>& entry, CUgraphExec exec,
                               CUstream stream, bool per_thread, Launch real, Pacer::Turn& turn) {
  Tenant& tenant = Tenant::self();
  GraphPieces& pieces = *entry->pieces;
  Pacer::Piece piece = turn.next();
  Issue issue(stream, per_thread, Work::kLaunch, &piece.target);
  note_launch(entry.get());
  issue.count_if_open();
  if (!pieces.can_be_cut() || pieces.is_whole(piece.works)) {
    if (!pieces.is_whole(piece.works)) tenant.count(Counter::unsegmented_graphs);
    const CUresult result = launch_whole(entry, exec, issue, real);
    turn.issued(issue);
    return result;
  }
  if (entry->last != nullptr) d().stream_wait(issue.stream(), entry->last, 0);
  CUresult result = CUDA_SUCCESS;
  for (;;) {
    CUgraphExec segment = variant_for(*entry, piece.works, issue.place());
    if (segment == nullptr) {
      tenant.count(Counter::open_graphs, why_open(entry.get()));
      segment = variant_for(*entry, piece.works, {});
    }
    tenant.count(Counter::segments);
    result = segment != nullptr ? real(segment, issue.stream()) : CUDA_ERROR_OUT_OF_MEMORY;
    turn.issued(issue);
    if (turn.is_done() || result != CUDA_SUCCESS) break;
    piece = turn.next();
    issue.go(piece.target);
  }
  ended(entry, issue, nullptr, true);
  return result;
}

// Notes where the launch ends.
void Graphs::ended(const std::shared_ptr<Exec>& entry, const Issue& issue, CUgraphExec chosen,
                   bool on_partition) {
  const bool recorded = record_end(*entry, issue);
  entry->last_exec = chosen;
  ++entry->launches;
  if (on_partition && recorded) list(entry);
}

bool Graphs::record_end(Exec& entry, const Issue& issue) {
  if (entry.last == nullptr) {
    // Of the stream's context, whichever is current: others' events can't be recorded there.
    std::optional<cuda::Current> current;
    if (issue.context() != nullptr) current.emplace(issue.context());
    d().event_create(&entry.last, CU_EVENT_DISABLE_TIMING);
  }
  if (entry.last != nullptr && d().event_record(entry.last, issue.stream()) == CUDA_SUCCESS) {
    return true;
  }
  Tenant::self().count(Counter::driver_errors, "the end of a graph could not be recorded");
  return false;
}

void Graphs::list(const std::shared_ptr<Exec>& entry) {
  const std::lock_guard lock(running_mutex_);
  if (entry->is_listed) return;
  // Else those that the program has destroyed would stay for as long as it waits for no context.
  const cuda::RelaxedCapture relaxed;
  std::erase_if(running_, [](const std::shared_ptr<Exec>& other) {
    return other.use_count() == 1 && d().event_query(other->last) == CUDA_SUCCESS;
  });
  running_.push_back(entry);
  entry->is_listed = true;
}

void Graphs::await_running() {
  if (!Tenant::self().is_active()) return;
  std::vector<std::shared_ptr<Exec>> running;
  {
    const std::lock_guard lock(running_mutex_);
    running = running_;
  }
  if (running.empty()) return;
  const cuda::RelaxedCapture relaxed;
  for (const std::shared_ptr<Exec>& entry : running) {
    CUevent last = nullptr;
    std::uint64_t launches = 0;
    {
      const std::lock_guard lock(entry->mutex);
      last = entry->last;
      launches = entry->launches;
    }
    if (last == nullptr) continue;  // forgotten meanwhile, with its context
    d().event_wait(last);
    const std::lock_guard entry_lock(entry->mutex);
    if (entry->launches != launches) continue;  // launched again meanwhile: for the next wait
    const std::lock_guard lock(running_mutex_);
    if (entry->is_listed) std::erase(running_, entry);
    entry->is_listed = false;
  }
}

Graphs::Exec::~Exec() {
  const cuda::RelaxedCapture relaxed;
  if (last != nullptr) d().event_destroy(last);
}

void Graphs::destroying(CUgraphExec exec) {
  const std::shared_ptr<Exec> entry = find(exec);
  if (entry == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    execs_.erase(exec);
  }
  const std::lock_guard lock(entry->mutex);
  const cuda::RelaxedCapture relaxed;
  drop_variants(*entry);
  if (entry->graph != nullptr) d().graph_destroy(entry->graph);
  entry->graph = nullptr;
}

void Graphs::forget() {
  std::vector<std::shared_ptr<Exec>> entries;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [exec, entry] : execs_) entries.push_back(std::move(entry));
    execs_.clear();
  }
  {
    const std::lock_guard lock(running_mutex_);
    for (auto& entry : running_) {
      entry->is_listed = false;
      entries.push_back(std::move(entry));
    }
    running_.clear();
  }
  const cuda::RelaxedCapture relaxed;
  for (const std::shared_ptr<Exec>& entry : entries) {
    const std::lock_guard lock(entry->mutex);
    drop_variants(*entry);
    if (entry->graph != nullptr) d().graph_destroy(entry->graph);
    if (entry->last != nullptr) d().event_destroy(entry->last);
    entry->graph = nullptr;
    entry->last = nullptr;
  }
}

void Graphs::updated(CUgraphExec exec, CUgraph graph) {
  const std::shared_ptr<Exec> entry = find(exec);
  if (entry == nullptr) return;
  const std::lock_guard lock(entry->mutex);
  drop_variants(*entry);
  adopt(*entry, graph);
}

CUgraphNode Graphs::own_node(const Exec& entry, CUgraphNode node) {
  if (const auto found = entry.replaced.find(node); found != entry.replaced.end())
    return found->second;
  CUgraphNode ours = nullptr;
  return d().graph_node_in_clone(&ours, node, entry.graph) == CUDA_SUCCESS ? ours : nullptr;
}

void Graphs::changed(CUgraphExec exec) {
  const std::shared_ptr<Exec> entry = find(exec);
  if (entry == nullptr) return;
  const std::lock_guard lock(entry->mutex);
  const cuda::RelaxedCapture relaxed;
  drop_variants(*entry);
  give_up(*entry, "an instance of a graph was changed in a way that our copy can't follow");
}

}  // namespace fico::hook
