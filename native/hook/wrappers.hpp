// The wrappers of entries.def: each template stands in for every entry that names it.
//
// Wrapper<entry>::call takes the arguments of the entry. Nothing here may throw into the
// program or end it; what cannot be handled passes through to the driver and is counted.
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <tuple>
#include <type_traits>

#include "cuda/driver.hpp"
#include "hook/captures.hpp"
#include "hook/coverage.hpp"
#include "hook/graph_nodes.hpp"
#include "hook/graphs.hpp"
#include "hook/home_launch.hpp"
#include "hook/kernels.hpp"
#include "hook/live.hpp"
#include "hook/pacer.hpp"
#include "hook/streams.hpp"
#include "hook/table.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {

// After the program has waited for something, or asked whether it has ended.
inline void has_waited() {
  if (!Tenant::is_active()) return;
  Pacer::end_span();
  Pacer::self().poke();
  if (Live* live = Live::self()) live->catch_up();
}

// The one stream among the arguments of an entry.
template <class... Arguments>
CUstream& stream_among(Arguments&... arguments) {
  static_assert((std::is_same_v<Arguments, CUstream> + ...) == 1, "one stream is expected");
  return std::get<CUstream&>(std::tie(arguments...));
}

template <class First, class... Rest>
First first_of(First first, Rest...) {
  return first;
}

struct Shape {
  profile::Dim grid;
  profile::Dim block;
};

// Of cuLaunchKernel and cuLaunchCooperativeKernel, which have the same arguments first.
template <class... Rest>
Shape shape_of(CUfunction, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
               unsigned block_y, unsigned block_z, Rest...) {
  return {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}};
}

// Of cuLaunchGridAsync, whose block was set before: a profile does not know such launches.
inline Shape shape_of(CUfunction, int grid_x, int grid_y, CUstream) {
  return {{static_cast<std::uint32_t>(grid_x), static_cast<std::uint32_t>(grid_y), 1}, {}};
}

// What a partition may refuse and the whole GPU take: then the launch is made there.
inline bool is_too_large(CUresult result) {
  return result == CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE ||
         result == CUDA_ERROR_INVALID_CLUSTER_SIZE;
}

// Issues a kernel: chooses its place, launches with `launch(stream)`, and launches on all units if
// the partition is too small for it.
template <class LaunchOn>
CUresult place_kernel(CUfunction function, Shape shape, CUstream stream, bool per_thread,
                      LaunchOn launch) {
  // Open, every launch has all units anyway.
  const bool whole =
      Tenant::grant().mode != arena::Mode::kOpen && kernel_of(function).needs_whole_gpu;
  std::optional<Live::Position> position;
  const bool captures = Captures::are_under_way();
  if (Live* live = Live::self(); live != nullptr && Tenant::is_active() && !captures) {
    position = live->launched(function, shape.grid, shape.block);
  }
  std::optional<Target> target;
  const bool paced = Pacer::is_on() && !captures;
  if (paced) target = Pacer::self().before_launch(position);
  Issue issue(stream, per_thread, whole ? Work::kHome : Work::kLaunch, target ? &*target : nullptr);
  if (issue.is_captured()) {
    Tenant::count(Counter::captured_launches);
  } else {
    Tenant::count(Counter::launches);
    if (whole) Tenant::count(Counter::open_named);
    issue.count_if_open();
  }
  CUresult result = launch(issue.stream());
  if (is_too_large(result) && issue.is_on_partition() && issue.go_home()) {
    Tenant::count(Counter::open_large);
    result = launch(issue.stream());
  }
  if (paced && !issue.is_captured()) Pacer::self().launched(issue, position);
  return result;
}

// Issues a kernel. Where nothing can ask for a place that is little more than the launch.
template <class LaunchOn>
[[gnu::hot]] CUresult issue_kernel(CUfunction function, Shape shape, CUstream stream,
                                   bool per_thread, LaunchOn launch) {
  const arena::Grant grant = Tenant::grant();
  const bool stays =
      grant.mode == arena::Mode::kOpen || Pacer::is_alone(grant) || Pacer::takes_of_span(grant);
  if (stays && Tenant::is_active() && !Captures::are_under_way()) {
    Live* live = Live::self();  // first: to make it takes longer than a stream waits
    const HomeLaunch under_way;
    if (HomeLaunch::is_allowed()) {
      if (live != nullptr) live->note(function, shape.grid, shape.block);
      Tenant::count(Counter::launches);
      return launch(stream);
    }
  }
  return place_kernel(function, shape, stream, per_thread, launch);
}

template <Entry entry>
struct Launch {
  static CUresult call(auto... a) {
    CUstream& stream = stream_among(a...);
    const CUstream wanted = stream;
    return issue_kernel(first_of(a...), shape_of(a...), wanted, kPerThread<entry>,
                        [&](CUstream at) {
                          stream = at;
                          return call_real<entry>(a...);
                        });
  }
};

template <Entry entry>
struct LaunchEx {
  static CUresult call(const CUlaunchConfig* config, CUfunction function, void** parameters,
                       void** extra) {
    if (config == nullptr) return call_real<entry>(config, function, parameters, extra);
    CUlaunchConfig moved = *config;
    const Shape shape{{config->gridDimX, config->gridDimY, config->gridDimZ},
                      {config->blockDimX, config->blockDimY, config->blockDimZ}};
    return issue_kernel(function, shape, config->hStream, kPerThread<entry>, [&](CUstream at) {
      moved.hStream = at;
      return call_real<entry>(&moved, function, parameters, extra);
    });
  }
};

// The launches of CUDA 1: on the legacy stream, and the driver offers no other.
template <Entry entry>
struct LaunchLegacy {
  static CUresult call(auto... a) {
    const Issue issue(nullptr, false, Work::kHome);
    Tenant::count(Counter::launches);
    Tenant::count(Counter::open_entries);
    return call_real<entry>(a...);
  }
};

template <Entry entry, hook::Work work, class... A>
CUresult issue_ordered(A... a) {
  CUstream& stream = stream_among(a...);
  const Issue issue(stream, kPerThread<entry>, work);
  stream = issue.stream();
  return call_real<entry>(a...);
}

template <Entry entry>
struct SmWork {
  static CUresult call(auto... a) { return issue_ordered<entry, Work::kLaunch>(a...); }
};

template <Entry entry>
struct StreamWork {
  static CUresult call(auto... a) { return issue_ordered<entry, Work::kMark>(a...); }
};

// The caller waits in the driver, so the lock is given back first: everything up to here is in the
// chain that leads to the place where the stream is now.
template <Entry entry>
struct Wait {
  static CUresult call(CUstream stream) {
    Issue issue(stream, kPerThread<entry>, Work::kWait);
    issue.unlock();
    const CUresult result = call_real<entry>(issue.stream());
    has_waited();
    return result;
  }
};

// Waiting for an event, or asking about it.
template <Entry entry>
struct EventWait {
  static CUresult call(CUevent event) {
    const CUresult result = call_real<entry>(event);
    has_waited();
    return result;
  }
};

// Copies and fills that name no stream run on the default stream. The driver may return before they
// have ended (a copy between device buffers, a small copy from pageable memory).
template <Entry entry>
struct Synchronous {
  static CUresult call(auto... a) {
    Issue issue(nullptr, kPerThread<entry>, Work::kHome);
    issue.unlock();
    const CUresult result = call_real<entry>(a...);
    issue.finish_home();
    has_waited();
    return result;
  }
};

// A callback is told the stream that the program knows.
struct Callback {
  CUstreamCallback function;
  void* data;
  CUstream stream;
  static void CUDA_CB run(CUstream, CUresult status, void* self) {
    const std::unique_ptr<Callback> callback(static_cast<Callback*>(self));
    callback->function(callback->stream, status, callback->data);
  }
};

template <Entry entry>
struct AddCallback {
  static CUresult call(CUstream stream, CUstreamCallback function, void* data, unsigned int flags) {
    const Issue issue(stream, kPerThread<entry>, Work::kMark);
    if (!issue.is_on_partition()) return call_real<entry>(stream, function, data, flags);
    auto* callback = new Callback{function, data, stream};  // run() owns it, if it is called
    const CUresult result = call_real<entry>(issue.stream(), &Callback::run, callback, flags);
    if (result != CUDA_SUCCESS) delete callback;
    return result;
  }
};

template <Entry entry>
struct RecordEvent {
  static CUresult call(CUevent event, CUstream stream, auto... flags) {
    const Issue issue(stream, kPerThread<entry>, Work::kMark);
    const CUresult result = call_real<entry>(event, issue.stream(), flags...);
    if (Captures::are_under_way()) {
      Captures::self().note_event(event, issue.is_captured() && result == CUDA_SUCCESS);
    }
    return result;
  }
};

template <Entry entry>
struct WaitEvent {
  static CUresult call(CUstream stream, CUevent event, unsigned int flags) {
    // Waiting for a captured event makes the stream part of the capture, and captures are made at
    // home.
    const bool joins = Captures::are_under_way() && Captures::self().has_event(event);
    const Issue issue(stream, kPerThread<entry>, joins ? Work::kHome : Work::kMark);
    return call_real<entry>(issue.stream(), event, flags);
  }
};

template <Entry entry>
struct StreamCreate {
  static CUresult call(CUstream* stream, auto... how) {
    const CUresult result = call_real<entry>(stream, how...);
    if (result == CUDA_SUCCESS && Tenant::is_active()) Streams::self().created(*stream);
    return result;
  }
};

template <Entry entry>
struct StreamDestroy {
  static CUresult call(CUstream stream) {
    if (Tenant::is_active()) Streams::self().destroying(stream);
    return call_real<entry>(stream);
  }
};

template <Entry entry>
struct BeginCapture {
  static CUresult call(CUstream stream, auto... how) {
    const Issue issue(stream, kPerThread<entry>, Work::kHome);
    Captures::begin();
    const CUresult result = call_real<entry>(stream, how...);
    if (result != CUDA_SUCCESS) Captures::self().ended();
    return result;
  }
};

template <Entry entry>
struct EndCapture {
  static CUresult call(CUstream stream, CUgraph* graph) {
    const bool capturing = Captures::is_capturing(stream, kPerThread<entry>);
    const CUresult result = call_real<entry>(stream, graph);
    if (capturing && !Captures::is_capturing(stream, kPerThread<entry>)) Captures::self().ended();
    return result;
  }
};

template <Entry entry>
struct GraphInstantiate {
  static CUresult call(CUgraphExec* exec, CUgraph graph, auto... how) {
    const CUresult result = call_real<entry>(exec, graph, how...);
    if (result != CUDA_SUCCESS) return result;
    unsigned long long flags = 0;
    if constexpr (sizeof...(how) == 1)
      flags = first_of(how...);  // the older ABIs have a log instead
    Graphs::self().instantiated(*exec, graph, flags);
    return result;
  }
};

template <Entry entry>
struct GraphInstantiateWithParams {
  static CUresult call(CUgraphExec* exec, CUgraph graph,
                       CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
    if (parameters == nullptr) return call_real<entry>(exec, graph, parameters);
    // The upload is work of a stream.
    const CUstream wanted = parameters->hUploadStream;
    const bool uploads = (parameters->flags & CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD) != 0;
    CUresult result = CUDA_SUCCESS;
    if (uploads) {
      const Issue issue(wanted, kPerThread<entry>, Work::kMark);
      parameters->hUploadStream = issue.stream();
      result = call_real<entry>(exec, graph, parameters);
      parameters->hUploadStream = wanted;
    } else {
      result = call_real<entry>(exec, graph, parameters);
    }
    if (result == CUDA_SUCCESS) Graphs::self().instantiated(*exec, graph, parameters->flags);
    return result;
  }
};

template <Entry entry>
struct GraphLaunch {
  static CUresult call(CUgraphExec exec, CUstream stream) {
    return Graphs::self().launch(exec, stream, kPerThread<entry>,
                                 &call_real<entry, CUgraphExec, CUstream>);
  }
};

template <Entry entry>
struct GraphExecDestroy {
  static CUresult call(CUgraphExec exec) {
    Graphs::self().destroying(exec);
    return call_real<entry>(exec);
  }
};

template <Entry entry>
struct GraphExecUpdate {
  static CUresult call(CUgraphExec exec, CUgraph graph, auto... results) {
    const CUresult result = call_real<entry>(exec, graph, results...);
    if (result == CUDA_SUCCESS) Graphs::self().updated(exec, graph);
    return result;
  }
};

// Makes the change of an executable graph's node in the node of a graph.
template <Entry entry, class Parameters>
CUresult change_in_graph(CUgraph graph, CUgraphNode& node, Parameters parameters) {
  const cuda::Driver& d = cuda::driver();
  if constexpr (entry == Entry::cuGraphExecKernelNodeSetParams_v2)
    return d.graph_kernel_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecMemcpyNodeSetParams)
    return d.graph_memcpy_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecMemsetNodeSetParams)
    return d.graph_memset_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecHostNodeSetParams)
    return d.graph_host_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecEventRecordNodeSetEvent)
    return d.graph_record_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecEventWaitNodeSetEvent)
    return d.graph_wait_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecNodeSetParams) return d.graph_node_set(node, parameters);
  if constexpr (entry == Entry::cuGraphExecChildGraphNodeSetParams)
    return replace_child(graph, node, parameters);
}

template <Entry entry>
struct GraphExecNodeChange {
  static CUresult call(CUgraphExec exec, CUgraphNode node, auto parameters, auto... context) {
    const CUresult result = call_real<entry>(exec, node, parameters, context...);
    if (result != CUDA_SUCCESS) return result;
    Graphs::self().node_changed(exec, node, [&](CUgraph graph, CUgraphNode& ours) {
      return change_in_graph<entry>(graph, ours, parameters) == CUDA_SUCCESS;
    });
    return result;
  }
};

template <Entry entry>
struct GraphExecChange {
  static CUresult call(CUgraphExec exec, auto... change) {
    const CUresult result = call_real<entry>(exec, change...);
    if (result == CUDA_SUCCESS) Graphs::self().changed(exec);
    return result;
  }
};

// Waiting for a context is refused while a stream of it captures: also if it is ours, for the
// moment in which a graph is rebuilt, which the program must not see.
template <Entry entry>
struct ContextWait {
  static CUresult call(auto... context) {
    Graphs::self().await_running();
    for (;;) {
      const std::uint32_t begun = rebuilds.begun.load();
      const bool beside = rebuilds.ended.load() != begun;
      const CUresult result = call_real<entry>(context...);
      if (result != CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED ||
          (!beside && rebuilds.begun.load() == begun)) {
        has_waited();
        return result;
      }
      std::this_thread::yield();
    }
  }
};

// Giving memory back waits for the work of the context, as programs rely on.
template <Entry entry>
struct FreeMemory {
  static CUresult call(auto memory) {
    Graphs::self().await_running();
    return call_real<entry>(memory);
  }
};

template <Entry entry>
struct Init {
  static CUresult call(unsigned int flags) {
    const CUresult result = call_real<entry>(flags);
    if (result == CUDA_SUCCESS) Tenant::self().attach();
    return result;
  }
};

// Our green contexts hold the primary context: they are given up with the program's last reference,
// so that its release resets the context as it would without us.
template <Entry entry>
struct PrimaryRetain {
  static CUresult call(CUcontext* context, CUdevice device) {
    const CUresult result = call_real<entry>(context, device);
    if (result == CUDA_SUCCESS) Streams::self().primary_retained(device, *context);
    return result;
  }
};

template <Entry entry>
struct PrimaryRelease {
  static CUresult call(CUdevice device) {
    Streams::self().primary_releasing(device);
    return call_real<entry>(device);
  }
};

template <Entry entry>
struct PrimaryReset {
  static CUresult call(CUdevice device) {
    Streams::self().primary_resetting(device);
    return call_real<entry>(device);
  }
};

template <Entry entry>
struct CtxDestroy {
  static CUresult call(CUcontext context) {
    Streams::self().forget_context(context, true);
    return call_real<entry>(context);
  }
};

template <Entry entry>
struct GetProcAddress {
  static CUresult call(const char* name, void** address, auto... how) {
    const CUresult result = call_real<entry>(name, address, how...);
    if (result == CUDA_SUCCESS && name != nullptr && address != nullptr && *address != nullptr) {
      *address = covered(name, *address);
    }
    return result;
  }
};

}  // namespace fico::hook
