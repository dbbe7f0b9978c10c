#include "hook/graphs.hpp"

#include <mutex>
#include <optional>

#include "cuda/driver.hpp"
#include "hook/captures.hpp"
#include "hook/graph_nodes.hpp"
#include "hook/live.hpp"
#include "hook/streams.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {
namespace {

const cuda::Driver& d() { return cuda::driver(); }

}  // namespace

Graphs& Graphs::self() {
  static auto* graphs = new Graphs;
  return *graphs;
}

void Graphs::instantiated(CUgraphExec exec, CUgraph graph, unsigned long long flags) {
  if (!Tenant::is_active()) return;
  const Context* context = Streams::self().current_context();
  if (context == nullptr || !context->confinable) return;
  auto entry = std::make_shared<Exec>(
      context->handle,
      flags & ~static_cast<unsigned long long>(CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD));
  entry->copies->adopt(graph);
  const std::lock_guard lock(mutex_);
  execs_[exec] = std::move(entry);
}

std::shared_ptr<Graphs::Exec> Graphs::find(CUgraphExec exec) {
  if (!Tenant::is_active()) return nullptr;
  const std::shared_lock lock(mutex_);
  const auto found = execs_.find(exec);
  return found == execs_.end() ? nullptr : found->second;
}

CUresult Graphs::launch(CUgraphExec exec, CUstream stream, bool per_thread, Launch real) {
  const std::shared_ptr<Exec> entry = find(exec);
  const std::unique_lock exec_lock =
      entry != nullptr ? std::unique_lock(entry->mutex) : std::unique_lock<std::mutex>();
  const bool captures = Captures::are_under_way();
  if (entry != nullptr && entry->copies->exists() && !captures && Pacer::is_on()) {
    if (auto turn = Pacer::self().begin_graph(entry->copies->pieces().plan())) {
      return launch_pieces(entry, exec, stream, per_thread, real, *turn);
    }
    Tenant::count(Counter::unscheduled_launches);
  }
  const Target target = Pacer::is_on() ? Pacer::self().fallback() : Target{};
  Issue issue(stream, per_thread, Work::kLaunch, &target);
  if (issue.is_captured()) {
    Tenant::count(Counter::captured_launches);
    return real(exec, issue.stream());
  }
  note_launch(entry.get());
  issue.count_if_open();
  return launch_whole(entry, exec, issue, real);
}

void Graphs::note_launch(Exec* entry) {
  Tenant::count(Counter::graph_launches);
  if (Live* live = Live::self(); live != nullptr && entry != nullptr && entry->copies->exists()) {
    live->launched(entry->copies->sequence());
  }
}

CUresult Graphs::launch_whole(const std::shared_ptr<Exec>& entry, CUgraphExec exec, Issue& issue,
                              Launch real) {
  if (entry == nullptr) {
    if (issue.is_on_partition()) {
      Tenant::count(Counter::open_graphs, "a graph that was instantiated past the library");
    }
    return real(exec, issue.stream());
  }
  GraphCopies& copies = *entry->copies;
  CUresult result = CUDA_SUCCESS;
  if (issue.is_on_partition()) {
    const Place place = issue.place();
    if (entry->last != nullptr) d().stream_wait(issue.stream(), entry->last, 0);
    if (!Pacer::is_on() || GraphCopies::builds_at_launch()) {
      copies.build(GraphCopies::kWhole, place);
    }
    const auto found = copies.launch(GraphCopies::kWhole, place, issue.stream(), real, result);
    if (found == GraphCopies::Found::kLaunched) {
      if (result == CUDA_SUCCESS) launched(entry, issue, false);
      return result;
    }
    if (found == GraphCopies::Found::kMissing && copies.exists()) {
      copies.build_soon(GraphCopies::kWhole, place);
      Tenant::count(Counter::unbuilt_pieces);
      issue.go_home();
    } else {
      Tenant::count(Counter::open_graphs, copies.exists()
                                              ? "a partition can't take a kernel of a graph"
                                              : copies.why_not());
    }
  }
  if (entry->last != nullptr && !entry->last_was_own)
    d().stream_wait(issue.stream(), entry->last, 0);
  result = real(exec, issue.stream());
  if (result == CUDA_SUCCESS) launched(entry, issue, true);
  return result;
}

// The stream's lock is held from the first piece to the last, so that nothing of other threads
// comes between them.
CUresult Graphs::launch_pieces(const std::shared_ptr<Exec>& entry, CUgraphExec exec,
                               CUstream stream, bool per_thread, Launch real, Pacer::Turn& turn) {
  GraphCopies& copies = *entry->copies;
  Pacer::Piece piece = turn.next();
  Issue issue(stream, per_thread, Work::kLaunch, &piece.target);
  note_launch(entry.get());
  issue.count_if_open();
  const bool whole = piece.first == 0 && piece.last == copies.pieces().plan()->work.size();
  if (whole || !copies.can_go_in_pieces()) {
    if (!whole) {
      turn.take_all();
      Tenant::count(copies.pieces().can_be_cut() ? Counter::unbuilt_pieces
                                                 : Counter::unsegmented_graphs);
    }
    const CUresult result = launch_whole(entry, exec, issue, real);
    turn.issued(issue);
    return result;
  }
  if (entry->last != nullptr) d().stream_wait(issue.stream(), entry->last, 0);
  CUresult result = CUDA_SUCCESS;
  for (;;) {
    result = launch_piece(copies, piece, issue, real);
    turn.issued(issue);
    if (turn.is_done() || result != CUDA_SUCCESS) break;
    piece = turn.next();
  }
  launched(entry, issue, false);
  return result;
}

// As one, if that is built, else work by work.
CUresult Graphs::launch_piece(GraphCopies& copies, const Pacer::Piece& piece, Issue& issue,
                              Launch real) {
  CUresult result = CUDA_SUCCESS;
  if (piece.last - piece.first > 1) {
    const GraphCopies::Segment row{piece.first, piece.last};
    issue.go(piece.target);
    const Place place = issue.place();
    if (GraphCopies::builds_at_launch()) copies.build(row, place);
    if (copies.launch(row, place, issue.stream(), real, result) == GraphCopies::Found::kLaunched) {
      Tenant::count(Counter::segments);
      return result;
    }
    copies.build_soon(row, place);
  }
  for (std::uint32_t work = piece.first; work < piece.last && result == CUDA_SUCCESS; ++work) {
    result = launch_work(copies, work, piece.target, issue, real);
  }
  return result;
}

// At the target if it is built there, else at home.
CUresult Graphs::launch_work(GraphCopies& copies, std::uint32_t work, const Target& target,
                             Issue& issue, Launch real) {
  Tenant::count(Counter::segments);
  issue.go(target);
  CUresult result = CUDA_ERROR_UNKNOWN;
  const Place place = issue.place();
  const GraphCopies::Segment alone{work, work + 1};
  if (GraphCopies::builds_at_launch()) copies.build(alone, place);
  const auto found = copies.launch(alone, place, issue.stream(), real, result);
  if (found == GraphCopies::Found::kLaunched) return result;
  if (found == GraphCopies::Found::kMissing) {
    copies.build_works_soon(place);
    Tenant::count(Counter::unbuilt_pieces);
  } else {
    Tenant::count(Counter::open_graphs, "a partition can't take a kernel of a graph");
  }
  issue.go_home();
  copies.launch(alone, {}, issue.stream(), real, result);
  return result;
}

void Graphs::launched(const std::shared_ptr<Exec>& entry, const Issue& issue, bool own) {
  const bool recorded = record_end(*entry, issue);
  entry->last_was_own = own;
  ++entry->launches;
  if (!own && recorded) list(entry);
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
  Tenant::count(Counter::driver_errors, "the end of a graph could not be recorded");
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
  if (!Tenant::is_active()) return;
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
  entry->copies->give_up("a graph that the program has destroyed");
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
    entry->copies->give_up("a graph of a context that has ended");
    if (entry->last != nullptr) d().event_destroy(entry->last);
    entry->last = nullptr;
  }
}

void Graphs::updated(CUgraphExec exec, CUgraph graph) {
  const std::shared_ptr<Exec> entry = find(exec);
  if (entry == nullptr) return;
  const std::lock_guard lock(entry->mutex);
  entry->copies->adopt(graph);
}

void Graphs::changed(CUgraphExec exec) {
  const std::shared_ptr<Exec> entry = find(exec);
  if (entry == nullptr) return;
  const std::lock_guard lock(entry->mutex);
  entry->copies->give_up("an instance of a graph was changed in a way that our copy can't follow");
}

}  // namespace fico::hook
