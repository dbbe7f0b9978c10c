// Nodes of graphs and what they do: the entry points.
#include <cstring>

#include "emulator/node_tasks.hpp"
#include "emulator/transfer.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

// Adds a node whose task `make` gives.
template <class Make>
CUresult add(CUgraphNode* out, CUgraph graph, const CUgraphNode* after, std::size_t count,
             Make make) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = add_node(call.rt, graph, make(call.rt), after, count).handle();
    return CUDA_SUCCESS;
  });
}

// Replaces the task of a node of this type.
template <class Make>
CUresult change(CUgraphNode handle, CUgraphNodeType type, Make make) {
  return api([&](Call& call) {
    auto& node = node_of(call.rt, handle, type);
    node.task = make(call.rt, node);
    return CUDA_SUCCESS;
  });
}

CUDA_KERNEL_NODE_PARAMS_v2 describe_kernel(Runtime& rt, Node& node) {
  auto& kernel = std::get<Kernel>(node.task.work);
  node.param_pointers.clear();
  for (auto offset : kernel.image->param_offsets) {
    node.param_pointers.push_back(kernel.params.data() + offset);
  }
  CUDA_KERNEL_NODE_PARAMS_v2 params{};
  params.func = kernel.function;
  const auto* function = rt.functions.find(kernel.function);
  if (function && function->module->is_library) {
    params.kern = reinterpret_cast<CUkernel>(kernel.function);
  }
  params.ctx = kernel.context;
  params.gridDimX = kernel.grid[0];
  params.gridDimY = kernel.grid[1];
  params.gridDimZ = kernel.grid[2];
  params.blockDimX = kernel.block[0];
  params.blockDimY = kernel.block[1];
  params.blockDimZ = kernel.block[2];
  params.sharedMemBytes = kernel.shared_bytes;
  params.kernelParams = node.param_pointers.empty() ? nullptr : node.param_pointers.data();
  return params;
}

CUresult give_event(CUgraphNode handle, CUgraphNodeType type, CUevent* out) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = node_of(call.rt, handle, type).task.event;
    return CUDA_SUCCESS;
  });
}

CUresult change_event(CUgraphNode handle, CUgraphNodeType type, CUevent event) {
  return change(handle, type,
                [&](Runtime& rt, const Node&) { return event_task(rt, type, event); });
}

}  // namespace
}  // namespace fico::emulator

// Kernels.

CUresult cuGraphAddKernelNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                                 std::size_t count, const CUDA_KERNEL_NODE_PARAMS_v2* params) {
  return add(out, graph, after, count, [&](Runtime& rt) {
    require_value(params != nullptr);
    return kernel_task(kernel_of(rt, *params));
  });
}

CUresult cuGraphAddKernelNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                              std::size_t count, const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  return add(out, graph, after, count, [&](Runtime& rt) {
    require_value(params != nullptr);
    return kernel_task(kernel_of(rt, widen(*params)));
  });
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v2* params) {
  return api([&](Call& call) {
    require_value(params != nullptr);
    *params = describe_kernel(call.rt, node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_KERNEL));
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphKernelNodeGetParams(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v1* params) {
  return api([&](Call& call) {
    require_value(params != nullptr);
    const auto wide = describe_kernel(call.rt, node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_KERNEL));
    *params = {wide.func,         wide.gridDimX,  wide.gridDimY,  wide.gridDimZ,
               wide.blockDimX,    wide.blockDimY, wide.blockDimZ, wide.sharedMemBytes,
               wide.kernelParams, wide.extra};
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode handle,
                                       const CUDA_KERNEL_NODE_PARAMS_v2* params) {
  return change(handle, CU_GRAPH_NODE_TYPE_KERNEL, [&](Runtime& rt, const Node& node) {
    require_value(params != nullptr);
    auto kernel = changed_kernel(rt, std::get<Kernel>(node.task.work), *params);
    // As the driver does (docs/driver-facts.md): a library's kernel goes to the context that is
    // named, a module's stays. In an instance even the former is refused.
    if (!params->func && params->kern && params->ctx) {
      kernel.context = params->ctx;
      check_launch(context_of(rt, kernel.context), kernel);
    }
    return kernel_task(std::move(kernel));
  });
}

CUresult cuGraphKernelNodeSetParams(CUgraphNode handle, const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  if (!params) return CUDA_ERROR_INVALID_VALUE;
  const auto wide = widen(*params);
  return cuGraphKernelNodeSetParams_v2(handle, &wide);
}

CUresult cuGraphKernelNodeGetAttribute(CUgraphNode handle, CUkernelNodeAttrID id,
                                       CUkernelNodeAttrValue* value) {
  return api([&](Call& call) {
    require_value(value != nullptr);
    const auto& kernel =
        std::get<Kernel>(node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_KERNEL).task.work);
    const auto* attribute = find_attribute(kernel, id);
    *value = attribute ? attribute->value : CUkernelNodeAttrValue{};
    if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY) value->priority = kernel.priority;
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphKernelNodeSetAttribute(CUgraphNode handle, CUkernelNodeAttrID id,
                                       const CUkernelNodeAttrValue* value) {
  return change(handle, CU_GRAPH_NODE_TYPE_KERNEL, [&](Runtime& rt, const Node& node) {
    require_value(value != nullptr);
    auto kernel = std::get<Kernel>(node.task.work);
    set_attribute(kernel, id, *value);
    check_launch(context_of(rt, kernel.context), kernel);
    return kernel_task(std::move(kernel));
  });
}

CUresult cuGraphKernelNodeCopyAttributes(CUgraphNode target, CUgraphNode source) {
  return change(target, CU_GRAPH_NODE_TYPE_KERNEL, [&](Runtime& rt, const Node& node) {
    const auto& from = std::get<Kernel>(node_of(rt, source, CU_GRAPH_NODE_TYPE_KERNEL).task.work);
    auto kernel = std::get<Kernel>(node.task.work);
    require_value(kernel.context == from.context);
    kernel.attributes = from.attributes;
    kernel.priority = from.priority;
    check_launch(context_of(rt, kernel.context), kernel);
    return kernel_task(std::move(kernel));
  });
}

// Copies and memsets.

CUresult cuGraphAddMemcpyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                              std::size_t count, const CUDA_MEMCPY3D* copy, CUcontext context) {
  return add(out, graph, after, count, [&](Runtime& rt) {
    context_of(rt, context);
    return copy_task(copy);
  });
}

CUresult cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUDA_MEMCPY3D* params) {
  return api([&](Call& call) {
    require_value(params != nullptr);
    auto& node = node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_MEMCPY);
    *params = describe(std::get<Copy>(node.task.work));
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphMemcpyNodeSetParams(CUgraphNode handle, const CUDA_MEMCPY3D* copy) {
  return change(handle, CU_GRAPH_NODE_TYPE_MEMCPY,
                [&](Runtime&, const Node&) { return copy_task(copy); });
}

CUresult cuGraphAddMemsetNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                              std::size_t count, const CUDA_MEMSET_NODE_PARAMS* params,
                              CUcontext context) {
  return add(out, graph, after, count, [&](Runtime& rt) {
    context_of(rt, context);
    return memset_task(params);
  });
}

CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS* params) {
  return api([&](Call& call) {
    require_value(params != nullptr);
    auto& node = node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_MEMSET);
    *params = describe(std::get<Memset>(node.task.work));
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphMemsetNodeSetParams(CUgraphNode handle, const CUDA_MEMSET_NODE_PARAMS* params) {
  return change(handle, CU_GRAPH_NODE_TYPE_MEMSET,
                [&](Runtime&, const Node&) { return memset_task(params); });
}

// Host functions, empty nodes, events and child graphs.

CUresult cuGraphAddHostNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                            std::size_t count, const CUDA_HOST_NODE_PARAMS* params) {
  return add(out, graph, after, count, [&](Runtime&) { return host_task(params); });
}

CUresult cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS* params) {
  return api([&](Call& call) {
    require_value(params != nullptr);
    const auto& host =
        std::get<HostCall>(node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_HOST).task.work);
    *params = {host.function, host.user_data};
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphHostNodeSetParams(CUgraphNode handle, const CUDA_HOST_NODE_PARAMS* params) {
  return change(handle, CU_GRAPH_NODE_TYPE_HOST,
                [&](Runtime&, const Node&) { return host_task(params); });
}

CUresult cuGraphAddEmptyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                             std::size_t count) {
  return add(out, graph, after, count, [](Runtime&) { return NodeTask{}; });
}

CUresult cuGraphAddEventRecordNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                                   std::size_t count, CUevent event) {
  return add(out, graph, after, count,
             [&](Runtime& rt) { return event_task(rt, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event); });
}
CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode node, CUevent* event) {
  return give_event(node, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}
CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event) {
  return change_event(node, CU_GRAPH_NODE_TYPE_EVENT_RECORD, event);
}

CUresult cuGraphAddEventWaitNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                                 std::size_t count, CUevent event) {
  return add(out, graph, after, count,
             [&](Runtime& rt) { return event_task(rt, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event); });
}
CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode node, CUevent* event) {
  return give_event(node, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}
CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event) {
  return change_event(node, CU_GRAPH_NODE_TYPE_WAIT_EVENT, event);
}

CUresult cuGraphAddChildGraphNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* after,
                                  std::size_t count, CUgraph child) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    auto& copy = clone_graph(call.rt, graph_of(call.rt, child));
    copy.is_child = true;
    try {
      NodeTask task;
      task.type = CU_GRAPH_NODE_TYPE_GRAPH;
      auto& node = add_node(call.rt, graph, std::move(task), after, count);
      node.child = &copy;
      *out = node.handle();
    } catch (const Failure&) {
      destroy_graph(call.rt, copy);
      throw;
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph* out) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = node_of(call.rt, handle, CU_GRAPH_NODE_TYPE_GRAPH).child->handle();
    return CUDA_SUCCESS;
  });
}
