#include <string_view>
#include <unordered_map>

#include "op_runner_calls.hpp"

// Captures and graphs.
namespace fico::testing {
namespace {

CUstreamCaptureMode capture_mode(const std::string& name) {
  if (name == "global") return CU_STREAM_CAPTURE_MODE_GLOBAL;
  if (name == "thread") return CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
  if (name == "relaxed") return CU_STREAM_CAPTURE_MODE_RELAXED;
  throw ProgramError("no such capture mode: " + name);
}

// `-` or node numbers with commas between, all of nodes that were added before.
std::vector<CUgraphNode> dependencies(const GraphSlot& slot, const std::string& text) {
  std::vector<CUgraphNode> nodes;
  if (text == "-") return nodes;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find(',', at);
    if (end == std::string::npos) end = text.size();
    nodes.push_back(slot.nodes.at(std::stoul(text.substr(at, end - at))));
    at = end + 1;
  }
  return nodes;
}

GraphSlot& graph_slot(World& world, const std::string& name) {
  return world.graphs.at(static_cast<std::size_t>(id_of('g', name)));
}

CUgraphExec& exec_slot(World& world, const std::string& name) {
  return world.execs.at(static_cast<std::size_t>(id_of('x', name)));
}

void CUDA_CB run_node(void* data) { static_cast<const HostEffect*>(data)->run(); }

}  // namespace

ThreadRunner::Handler ThreadRunner::find_graph_handler(const std::string& operation) {
  using T = ThreadRunner;
  static const std::unordered_map<std::string_view, Handler> kHandlers = {
      {"begin_capture", &T::begin_capture},  // STREAM global|thread|relaxed
      {"end_capture", &T::end_capture},      // STREAM gN
      {"graph_create", &T::graph_create},
      {"graph_destroy", &T::graph_destroy},
      {"node_kernel", &T::node_kernel},  // gN NODE DEPENDENCIES KERNEL...
      {"node_memset", &T::node_memset},  // gN NODE DEPENDENCIES dN 8|16|32 VALUE
      {"node_copy", &T::node_copy},      // gN NODE DEPENDENCIES TO FROM
      {"node_host", &T::node_host},      // gN NODE DEPENDENCIES hN SEED
      {"node_empty", &T::node_empty},
      {"node_child", &T::node_child},    // gN NODE DEPENDENCIES gM
      {"instantiate", &T::instantiate},  // xN gN
      {"exec_update", &T::exec_update},  // xN gN
      {"exec_set", &T::exec_set},        // xN gN NODE KERNEL...
      {"exec_child", &T::exec_child},    // xN gN NODE gM
      {"exec_memset", &T::exec_memset},  // xN gN NODE dN 8|16|32 VALUE
      {"exec_destroy", &T::exec_destroy},
      {"graph_upload", &T::graph_upload},  // xN STREAM
      {"graph_launch", &T::graph_launch},  // xN STREAM
  };
  const auto found = kHandlers.find(operation);
  if (found == kHandlers.end()) throw ProgramError("no such operation: " + operation);
  return found->second;
}

void ThreadRunner::begin_capture(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  check(at.api->fico_cuStreamBeginCapture(at.stream, capture_mode(call.text(1))));
}

void ThreadRunner::end_capture(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  CUgraph graph = nullptr;
  check(at.api->fico_cuStreamEndCapture(at.stream, &graph));
  graph_slot(world_, call.text(1)).graph = graph;
}

void ThreadRunner::graph_create(const Call& call) {
  check(api_->fico_cuGraphCreate(&graph_slot(world_, call.text(0)).graph, 0));
}

void ThreadRunner::graph_destroy(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  check(api_->fico_cuGraphDestroy(slot.graph));
  slot.graph = nullptr;
}

void ThreadRunner::node_kernel(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  const auto after = dependencies(slot, call.text(2));
  Kernel kernel;
  read_kernel(call, 3, kernel);
  CUDA_KERNEL_NODE_PARAMS params{};
  params.func = kernel.function;
  params.gridDimX = 4;
  params.gridDimY = params.gridDimZ = 1;
  params.blockDimX = 32;
  params.blockDimY = params.blockDimZ = 1;
  params.kernelParams = kernel.params.data();
  check(api_->fico_cuGraphAddKernelNode(&slot.nodes.at(call.number(1)), slot.graph, after.data(),
                                        after.size(), &params));
}

// The words from the fourth on: dN 8|16|32 VALUE.
CUDA_MEMSET_NODE_PARAMS ThreadRunner::read_memset(const Call& call) {
  CUDA_MEMSET_NODE_PARAMS params{};
  params.dst = world_.device(call.text(3));
  params.elementSize = call.number(4) / 8;
  params.value = call.number(5) & (0xFFFFFFFFU >> (32 - call.number(4)));
  params.width = world_.bytes() / params.elementSize;
  params.height = 1;
  return params;
}

void ThreadRunner::node_memset(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  const auto after = dependencies(slot, call.text(2));
  const CUDA_MEMSET_NODE_PARAMS params = read_memset(call);
  check(api_->fico_cuGraphAddMemsetNode(
      &slot.nodes.at(call.number(1)), slot.graph, after.data(), after.size(), &params,
      world_.contexts.at(static_cast<std::size_t>(context_)).context));
}

void ThreadRunner::node_copy(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  const auto after = dependencies(slot, call.text(2));
  CUDA_MEMCPY3D params{};
  const std::string& to = call.text(3);
  const std::string& from = call.text(4);
  params.dstMemoryType = to[0] == 'd' ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
  params.srcMemoryType = from[0] == 'd' ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
  if (to[0] == 'd') params.dstDevice = world_.device(to);
  if (to[0] == 'h') params.dstHost = world_.host(to);
  if (from[0] == 'd') params.srcDevice = world_.device(from);
  if (from[0] == 'h') params.srcHost = world_.host(from);
  params.WidthInBytes = world_.bytes();
  params.Height = params.Depth = 1;
  check(api_->fico_cuGraphAddMemcpyNode(
      &slot.nodes.at(call.number(1)), slot.graph, after.data(), after.size(), &params,
      world_.contexts.at(static_cast<std::size_t>(context_)).context));
}

void ThreadRunner::node_host(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  const auto after = dependencies(slot, call.text(2));
  CUDA_HOST_NODE_PARAMS params{};
  params.fn = run_node;
  params.userData = read_effect(call, 3);
  check(api_->fico_cuGraphAddHostNode(&slot.nodes.at(call.number(1)), slot.graph, after.data(),
                                      after.size(), &params));
}

void ThreadRunner::node_empty(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  const auto after = dependencies(slot, call.text(2));
  check(api_->fico_cuGraphAddEmptyNode(&slot.nodes.at(call.number(1)), slot.graph, after.data(),
                                       after.size()));
}

void ThreadRunner::node_child(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(0));
  const auto after = dependencies(slot, call.text(2));
  check(api_->fico_cuGraphAddChildGraphNode(&slot.nodes.at(call.number(1)), slot.graph,
                                            after.data(), after.size(),
                                            graph_slot(world_, call.text(3)).graph));
}

void ThreadRunner::instantiate(const Call& call) {
  check(api_->fico_cuGraphInstantiate(&exec_slot(world_, call.text(0)),
                                      graph_slot(world_, call.text(1)).graph, 0));
}

void ThreadRunner::exec_update(const Call& call) {
  CUgraphExecUpdateResultInfo info{};
  check(api_->fico_cuGraphExecUpdate(exec_slot(world_, call.text(0)),
                                     graph_slot(world_, call.text(1)).graph, &info));
}

void ThreadRunner::exec_set(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(1));
  Kernel kernel;
  read_kernel(call, 3, kernel);
  CUDA_KERNEL_NODE_PARAMS params{};
  params.func = kernel.function;
  params.gridDimX = 4;
  params.gridDimY = params.gridDimZ = 1;
  params.blockDimX = 32;
  params.blockDimY = params.blockDimZ = 1;
  params.kernelParams = kernel.params.data();
  check(api_->fico_cuGraphExecKernelNodeSetParams(exec_slot(world_, call.text(0)),
                                                  slot.nodes.at(call.number(2)), &params));
}

void ThreadRunner::exec_child(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(1));
  check(api_->fico_cuGraphExecChildGraphNodeSetParams(exec_slot(world_, call.text(0)),
                                                      slot.nodes.at(call.number(2)),
                                                      graph_slot(world_, call.text(3)).graph));
}

void ThreadRunner::exec_memset(const Call& call) {
  GraphSlot& slot = graph_slot(world_, call.text(1));
  const CUDA_MEMSET_NODE_PARAMS params = read_memset(call);
  check(api_->fico_cuGraphExecMemsetNodeSetParams(
      exec_slot(world_, call.text(0)), slot.nodes.at(call.number(2)), &params,
      world_.contexts.at(static_cast<std::size_t>(context_)).context));
}

void ThreadRunner::exec_destroy(const Call& call) {
  CUgraphExec& exec = exec_slot(world_, call.text(0));
  check(api_->fico_cuGraphExecDestroy(exec));
  exec = nullptr;
}

void ThreadRunner::graph_upload(const Call& call) {
  const StreamRef at = stream_ref(call.text(1));
  check(at.api->fico_cuGraphUpload(exec_slot(world_, call.text(0)), at.stream));
}

void ThreadRunner::graph_launch(const Call& call) {
  const StreamRef at = stream_ref(call.text(1));
  check(at.api->fico_cuGraphLaunch(exec_slot(world_, call.text(0)), at.stream));
}

}  // namespace fico::testing
