// Executable graphs: the entry points.
#include <algorithm>
#include <cstring>

#include "emulator/capture.hpp"
#include "emulator/context.hpp"
#include "emulator/event.hpp"
#include "emulator/node_tasks.hpp"
#include "emulator/stream.hpp"
#include "emulator/trace.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

CUresult instantiate(CUgraphExec* out, CUgraph handle, std::uint64_t flags) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    constexpr std::uint64_t known = std::uint64_t{CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH} |
                                    std::uint64_t{CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD} |
                                    std::uint64_t{CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY};
    require_value((flags & ~known) == 0);
    const auto& graph = graph_of(call.rt, handle);
    require_value(!graph.is_captured);
    auto exec = std::make_unique<GraphExec>();
    exec->nodes = flatten(graph);
    exec->flags = flags;
    exec->id = call.rt.next_id++;
    for (auto& node : exec->nodes) node.id = call.rt.next_id++;
    *out = call.rt.execs.add<CUgraphExec>(std::move(exec));
    return CUDA_SUCCESS;
  });
}

// A launch into a stream that is being captured becomes a child graph there.
void capture_launch(Runtime& rt, Stream& stream, const GraphExec& exec) {
  require(stream.capture->is_valid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  auto& child = graph_from(rt, exec);
  child.is_child = true;
  NodeTask task;
  task.type = CU_GRAPH_NODE_TYPE_GRAPH;
  capture_node(rt, stream, std::move(task)).child = &child;
}

// The work of a node for one launch of the graph from `stream`.
Work work_of(const GraphExec& exec, const ExecNode& node, const Stream& stream) {
  if (!node.enabled) return Marker{};
  Work work = node.task.work;
  if (auto* kernel = std::get_if<Kernel>(&work);
      kernel && !(exec.flags & CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY)) {
    kernel->priority = stream.priority;
  }
  return work;
}

// The real driver's waits for a context do not cover the last launch of such a graph.
bool runs_in_green_contexts(Runtime& rt, const GraphExec& exec, const Stream& stream) {
  if (stream.context->kind != Context::Kind::kGreen) return false;
  return std::ranges::any_of(exec.nodes, [&](const ExecNode& node) {
    const auto* kernel = std::get_if<Kernel>(&node.task.work);
    const auto* context = kernel && node.enabled ? rt.contexts.find(kernel->context) : nullptr;
    return context && context->kind == Context::Kind::kGreen;
  });
}

// Between a first and a last operation in the stream, the nodes have only the order of the graph.
void launch(Call& call, GraphExec& exec, Stream& stream) {
  const auto start = submit_to(call, stream, Marker{}, {exec.last});
  std::vector<OpRef> ops;
  std::vector<bool> is_leaf(exec.nodes.size(), true);
  for (const auto& node : exec.nodes) {
    OpRef op(new Op(work_of(exec, node, stream)));
    if (node.after.empty()) op->depend_on(start);
    for (auto earlier : node.after) {
      op->depend_on(ops[earlier]);
      is_leaf[earlier] = false;
    }
    auto* event = node.enabled ? call.rt.events.find(node.task.event) : nullptr;
    if (event && node.task.type == CU_GRAPH_NODE_TYPE_WAIT_EVENT) op->depend_on(event->record);
    if (event && node.task.type == CU_GRAPH_NODE_TYPE_EVENT_RECORD) {
      event->capture.reset();
      event->record = op;
    }
    trace(call, *op.get(), stream, &exec, &node);
    call.rt.executor.submit(op);
    ops.push_back(std::move(op));
  }
  OpRef end(new Op(Marker{}));
  end->depend_on(start);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (is_leaf[i]) end->depend_on(ops[i]);
  }
  exec.last = stream.last = end;
  stream.hides_launch = runs_in_green_contexts(call.rt, exec, stream);
  stream.awaited = stream.hides_launch ? start : end;
  call.rt.executor.submit(end);
}

// The node of the instance that was made from a node of the graph.
ExecNode& exec_node_of(Runtime& rt, CUgraphExec exec, CUgraphNode handle) {
  auto& nodes = rt.execs.get(exec).nodes;
  const auto found = std::ranges::find(nodes, node_of(rt, handle).id, &ExecNode::origin);
  require_value(found != nodes.end());
  return *found;
}

template <class Make>
CUresult change(CUgraphExec exec, CUgraphNode handle, CUgraphNodeType type, Make make) {
  return api([&](Call& call) {
    auto& node = exec_node_of(call.rt, exec, handle);
    require_value(node.task.type == type);
    node.task = make(call.rt, node.task);
    return CUDA_SUCCESS;
  });
}

// Takes over the tasks of a graph of the same shape. A kernel stays in its context, as it does when
// the parameters of its node are set.
CUgraphExecUpdateResult update(GraphExec& exec, std::vector<ExecNode> nodes, std::uint64_t& wrong) {
  if (nodes.size() != exec.nodes.size()) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    wrong = nodes[i].origin;
    if (nodes[i].task.type != exec.nodes[i].task.type) {
      return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
    }
    if (nodes[i].after != exec.nodes[i].after) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    auto& task = exec.nodes[i].task;
    auto* kernel = std::get_if<Kernel>(&nodes[i].task.work);
    if (const auto* old = std::get_if<Kernel>(&task.work); kernel && old) {
      kernel->context = old->context;
      kernel->sms = old->sms;
    }
    task = std::move(nodes[i].task);
  }
  wrong = 0;
  return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

CUresult update(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResult& result,
                CUgraphNode* error_node) {
  return api([&](Call& call) {
    std::uint64_t wrong = 0;
    result = update(call.rt.execs.get(exec), flatten(graph_of(call.rt, graph)), wrong);
    if (error_node) *error_node = nullptr;
    if (result == CU_GRAPH_EXEC_UPDATE_SUCCESS) return CUDA_SUCCESS;
    call.rt.nodes.for_each([&](Node& node) {
      if (error_node && node.id == wrong) *error_node = node.handle();
    });
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  });
}

}  // namespace
}  // namespace fico::emulator

CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
  return instantiate(exec, graph, flags);
}

CUresult cuGraphInstantiate_v2(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log,
                               std::size_t log_bytes) {
  if (error_node) *error_node = nullptr;
  if (log && log_bytes) *log = 0;
  return instantiate(exec, graph, 0);
}

CUresult cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, CUgraphNode* error_node, char* log,
                            std::size_t log_bytes) {
  return cuGraphInstantiate_v2(exec, graph, error_node, log, log_bytes);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec* exec, CUgraph graph,
                                      CUDA_GRAPH_INSTANTIATE_PARAMS* params) {
  if (!params) return CUDA_ERROR_INVALID_VALUE;
  const auto result = instantiate(exec, graph, params->flags);
  params->hErrNode_out = nullptr;
  params->result_out =
      result == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  return result;
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream handle) {
  return api([&](Call& call) {
    call.rt.execs.get(exec);
    require_not_capturing(call.rt, stream_of(call.rt, handle));
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  return api([&](Call& call) {
    auto& exec = call.rt.execs.get(handle);
    auto& stream = stream_of(call.rt, stream_handle);
    if (stream.is_legacy) check_legacy_use(call.rt, *stream.context);
    if (stream.capture) {
      capture_launch(call.rt, stream, exec);
    } else {
      launch(call, exec, stream);
    }
    return CUDA_SUCCESS;
  });
}

// Launches that are under way have all they need.
CUresult cuGraphExecDestroy(CUgraphExec exec) {
  return api([&](Call& call) {
    call.rt.execs.get(exec);
    call.rt.execs.remove(exec);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecGetFlags(CUgraphExec exec, cuuint64_t* flags) {
  return api([&](Call& call) {
    require_value(flags != nullptr);
    *flags = call.rt.execs.get(exec).flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo* info) {
  CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_ERROR;
  CUgraphNode error_node = nullptr;
  const auto outcome = update(exec, graph, result, &error_node);
  if (info) *info = {result, error_node, nullptr};
  return outcome;
}

CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode* error_node,
                           CUgraphExecUpdateResult* result) {
  CUgraphExecUpdateResultInfo info{};
  const auto outcome = cuGraphExecUpdate_v2(exec, graph, &info);
  if (error_node) *error_node = info.errorNode;
  if (result) *result = info.result;
  return outcome;
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS_v2* params) {
  return change(exec, node, CU_GRAPH_NODE_TYPE_KERNEL, [&](Runtime& rt, const NodeTask& old) {
    require_value(params != nullptr);
    return kernel_task(changed_kernel(rt, std::get<Kernel>(old.work), *params));
  });
}

CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  if (!params) return CUDA_ERROR_INVALID_VALUE;
  const auto wide = widen(*params);
  return cuGraphExecKernelNodeSetParams_v2(exec, node, &wide);
}

CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMCPY3D* copy, CUcontext) {
  return change(exec, node, CU_GRAPH_NODE_TYPE_MEMCPY,
                [&](Runtime&, const NodeTask&) { return copy_task(copy); });
}

CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_MEMSET_NODE_PARAMS* params, CUcontext) {
  return change(exec, node, CU_GRAPH_NODE_TYPE_MEMSET,
                [&](Runtime&, const NodeTask&) { return memset_task(params); });
}

CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                      const CUDA_HOST_NODE_PARAMS* params) {
  return change(exec, node, CU_GRAPH_NODE_TYPE_HOST,
                [&](Runtime&, const NodeTask&) { return host_task(params); });
}

CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
  return change(exec, node, CU_GRAPH_NODE_TYPE_EVENT_RECORD, [&](Runtime& rt, const NodeTask&) {
    return event_task(rt, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
  });
}

CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
  return change(exec, node, CU_GRAPH_NODE_TYPE_WAIT_EVENT, [&](Runtime& rt, const NodeTask&) {
    return event_task(rt, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
  });
}

CUresult cuGraphExecChildGraphNodeSetParams(CUgraphExec exec_handle, CUgraphNode handle,
                                            CUgraph child) {
  return api([&](Call& call) {
    auto& exec = call.rt.execs.get(exec_handle);
    const auto& entry = exec_node_of(call.rt, exec_handle, handle);
    require_value(entry.task.type == CU_GRAPH_NODE_TYPE_GRAPH);
    const auto first = static_cast<std::size_t>(&entry - exec.nodes.data()) + 1;
    auto nodes = flatten(graph_of(call.rt, child));
    const auto& old = *node_of(call.rt, handle).child;
    require_value(nodes.size() == flatten(old).size() && first + nodes.size() < exec.nodes.size());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      require_value(nodes[i].task.type == exec.nodes[first + i].task.type);
    }
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      exec.nodes[first + i].task = std::move(nodes[i].task);
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned enabled) {
  return api([&](Call& call) {
    auto& found = exec_node_of(call.rt, exec, node);
    const auto type = found.task.type;
    require_value(type == CU_GRAPH_NODE_TYPE_KERNEL || type == CU_GRAPH_NODE_TYPE_MEMSET ||
                  type == CU_GRAPH_NODE_TYPE_MEMCPY);
    found.enabled = enabled != 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode node, unsigned* enabled) {
  return api([&](Call& call) {
    require_value(enabled != nullptr);
    *enabled = exec_node_of(call.rt, exec, node).enabled;
    return CUDA_SUCCESS;
  });
}
