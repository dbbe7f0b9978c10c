// Stream capture and graphs on the emulated device.
#include <atomic>
#include <chrono>
#include <thread>

#include "emulator_world.hpp"

using namespace fico::check;

namespace {

CUgraph end_capture(CUstream stream) {
  CUgraph graph = nullptr;
  OK(CU(cuStreamEndCapture)(stream, &graph));
  CHECK(graph != nullptr);
  return graph;
}

void begin_capture(CUstream stream,
                   CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) {
  OK(CU(cuStreamBeginCapture)(stream, mode));
}

CUgraphExec instantiate(CUgraph graph) {
  CUgraphExec exec = nullptr;
  OK(CU(cuGraphInstantiate)(&exec, graph, 0));
  return exec;
}

CUevent make_event() {
  CUevent event = nullptr;
  OK(CU(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING));
  return event;
}

std::size_t count_nodes(CUgraph graph) {
  std::size_t count = 0;
  OK(CU(cuGraphGetNodes)(graph, nullptr, &count));
  return count;
}

std::uint32_t mixed(const World& world, std::initializer_list<std::uint32_t> seeds) {
  const auto buffer = make_buffer(1);
  const auto stream = make_stream();
  for (auto seed : seeds) mix(world, stream, buffer, 1, seed);
  OK(CU(cuStreamSynchronize)(stream));
  return first_value(buffer);
}

// The capture ends invalidated, without a graph.
void check_invalidated(CUstream stream) {
  CUgraph graph = reinterpret_cast<CUgraph>(1);
  CHECK_EQ(CU(cuStreamEndCapture)(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  CHECK(graph == nullptr);
  CUstreamCaptureStatus status{};
  OK(CU(cuStreamIsCapturing)(stream, &status));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_NONE);
}

CUgraphNode first_node(CUgraph graph) {
  CUgraphNode node = nullptr;
  std::size_t count = 1;
  OK(CU(cuGraphGetNodes)(graph, &node, &count));
  return node;
}

}  // namespace

TEST(a_captured_fork_and_join_runs_in_order) {
  const auto world = World::instant();
  CUstream streams[] = {make_stream(), make_stream()};
  CUevent events[] = {make_event(), make_event()};
  const auto buffer = make_buffer(2);
  begin_capture(streams[0]);
  mix(world, streams[0], buffer, 2, 1);
  OK(CU(cuEventRecord)(events[0], streams[0]));
  OK(CU(cuStreamWaitEvent)(streams[1], events[0], 0));
  mix(world, streams[1], buffer + 4, 1, 2);
  mix(world, streams[0], buffer, 1, 3);
  OK(CU(cuEventRecord)(events[1], streams[1]));
  OK(CU(cuStreamWaitEvent)(streams[0], events[1], 0));
  mix(world, streams[0], buffer, 2, 4);
  const auto graph = end_capture(streams[0]);
  CHECK_EQ(count_nodes(graph), 4);
  CHECK_EQ(first_value(buffer), 0);  // nothing has run
  const auto exec = instantiate(graph);
  OK(CU(cuGraphDestroy)(graph));
  OK(CU(cuGraphLaunch)(exec, streams[0]));
  OK(CU(cuStreamSynchronize)(streams[0]));
  const auto once = first_value(buffer);
  CHECK_EQ(once, mixed(world, {1, 3, 4}));
  // Launches of one instance never overlap, whatever their streams.
  OK(CU(cuMemsetD32)(buffer, 0, 2));
  OK(CU(cuCtxSynchronize)());
  for (int i = 0; i < 10; ++i) OK(CU(cuGraphLaunch)(exec, streams[i % 2]));
  OK(CU(cuGraphExecDestroy)(exec));
  OK(CU(cuCtxSynchronize)());
  const auto again = first_value(buffer);
  OK(CU(cuMemsetD32)(buffer, 0, 2));
  for (int i = 0; i < 10; ++i) {
    for (std::uint32_t seed : {1, 3, 4}) mix(world, nullptr, buffer, 1, seed);
  }
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(first_value(buffer), again);
}

TEST(independent_branches_of_a_graph_change_places) {
  const auto world = World::instant();
  const auto buffer = make_buffer(1);
  CUgraph graph = nullptr;
  OK(CU(cuGraphCreate)(&graph, 0));
  for (std::uint32_t seed : {1, 2}) {
    auto target = buffer;
    std::uint32_t count = 1;
    void* params[] = {&target, &count, &seed};
    CUDA_KERNEL_NODE_PARAMS node{};
    node.func = world.function("mix");
    node.gridDimX = node.gridDimY = node.gridDimZ = 1;
    node.blockDimX = node.blockDimY = node.blockDimZ = 1;
    node.kernelParams = params;
    CUgraphNode added = nullptr;
    OK(CU(cuGraphAddKernelNode)(&added, graph, nullptr, 0, &node));
  }
  const auto exec = instantiate(graph);
  const auto expected = mixed(world, {1, 2});
  int in_order = 0;
  for (int round = 0; round < 100; ++round) {
    OK(CU(cuMemsetD32)(buffer, 0, 1));
    OK(CU(cuGraphLaunch)(exec, nullptr));
    OK(CU(cuCtxSynchronize)());
    in_order += first_value(buffer) == expected;
  }
  CHECK(in_order < 100);
}

TEST(capture_refuses_what_cuda_refuses) {
  const auto world = World::instant();
  const auto stream = make_stream();
  const auto blocking = make_stream(CU_STREAM_DEFAULT);
  const auto buffer = make_buffer(1);
  CHECK_EQ(CU(cuStreamBeginCapture)(nullptr, CU_STREAM_CAPTURE_MODE_RELAXED),
           CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);

  begin_capture(stream);
  CHECK_EQ(CU(cuStreamSynchronize)(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  check_invalidated(stream);

  begin_capture(stream);
  CHECK_EQ(CU(cuStreamQuery)(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  CUfunction spin = world.function("spin");
  CHECK_EQ(launch(spin, stream, nullptr), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  check_invalidated(stream);

  begin_capture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED);
  CHECK_EQ(launch(spin, nullptr, nullptr), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  check_invalidated(blocking);

  begin_capture(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  OK(launch(spin, nullptr, nullptr));  // a non-blocking stream has no part in the legacy order
  CUdeviceptr extra = 0;
  OK(CU(cuMemAlloc)(&extra, 4));
  OK(CU(cuGraphDestroy)(end_capture(stream)));

  begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
  CHECK_EQ(CU(cuMemAlloc)(&extra, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  check_invalidated(stream);

  begin_capture(stream);
  std::uint32_t value = 0;
  CHECK_EQ(CU(cuMemcpyHtoD)(buffer, &value, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  check_invalidated(stream);

  begin_capture(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  CHECK_EQ(CU(cuCtxSynchronize)(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  check_invalidated(stream);
}

TEST(capture_modes_bind_the_right_threads) {
  const auto world = World::instant();
  const auto stream = make_stream();
  const auto allocate_elsewhere = [&](CUstreamCaptureMode mode) {
    CUresult result = CUDA_SUCCESS;
    std::thread([&] {
      OK(CU(cuCtxSetCurrent)(world.context));
      OK(CU(cuThreadExchangeStreamCaptureMode)(&mode));
      CHECK_EQ(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
      CUdeviceptr buffer = 0;
      result = CU(cuMemAlloc)(&buffer, 4);
    }).join();
    return result;
  };
  begin_capture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  OK(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(CU(cuGraphDestroy)(end_capture(stream)));

  begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
  OK(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(CU(cuGraphDestroy)(end_capture(stream)));

  begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL);
  CHECK_EQ(allocate_elsewhere(CU_STREAM_CAPTURE_MODE_GLOBAL),
           CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  check_invalidated(stream);

  begin_capture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  std::thread([&] {
    CUgraph graph = nullptr;
    CHECK_EQ(CU(cuStreamEndCapture)(stream, &graph), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  }).join();
  OK(CU(cuGraphDestroy)(end_capture(stream)));
}

TEST(forks_and_events_of_a_capture_are_checked) {
  const auto world = World::instant();
  CUstream streams[] = {make_stream(), make_stream(), make_stream()};
  const auto buffer = make_buffer(1);
  const auto event = make_event();
  const auto before = make_event();
  OK(CU(cuEventRecord)(before, streams[2]));
  OK(CU(cuStreamSynchronize)(streams[2]));
  CUgraph graph = nullptr;

  begin_capture(streams[0]);
  OK(CU(cuEventRecord)(event, streams[0]));
  OK(CU(cuStreamWaitEvent)(streams[1], event, 0));
  mix(world, streams[1], buffer, 1, 1);
  CHECK_EQ(CU(cuStreamEndCapture)(streams[0], &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  OK(CU(cuStreamSynchronize)(streams[1]));  // out of the capture again

  begin_capture(streams[0]);
  CHECK_EQ(CU(cuStreamWaitEvent)(streams[0], before, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  check_invalidated(streams[0]);

  begin_capture(streams[0]);
  OK(CU(cuEventRecord)(event, streams[0]));
  CHECK_EQ(CU(cuEventQuery)(event), CUDA_ERROR_CAPTURED_EVENT);
  check_invalidated(streams[0]);

  begin_capture(streams[0]);
  begin_capture(streams[1]);
  OK(CU(cuEventRecord)(event, streams[0]));
  CHECK_EQ(CU(cuStreamWaitEvent)(streams[1], event, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  check_invalidated(streams[0]);
  check_invalidated(streams[1]);

  begin_capture(streams[0]);
  OK(CU(cuEventRecord)(event, streams[0]));
  OK(CU(cuStreamWaitEvent)(streams[1], event, 0));
  CHECK_EQ(CU(cuStreamEndCapture)(streams[1], &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  check_invalidated(streams[0]);

  begin_capture(streams[0]);
  OK(CU(cuEventRecord)(event, streams[0]));
  OK(CU(cuGraphDestroy)(end_capture(streams[0])));
  CHECK_EQ(CU(cuStreamWaitEvent)(streams[1], event, 0), CUDA_ERROR_CAPTURED_EVENT);
}

TEST(capture_information_names_the_next_dependencies) {
  const auto world = World::instant();
  const auto stream = make_stream();
  begin_capture(stream);
  OK(launch(world.function("spin"), stream, nullptr));
  CUstreamCaptureStatus status{};
  cuuint64_t id = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* after = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  std::size_t count = 0;
  OK(CU(cuStreamGetCaptureInfo)(stream, &status, &id, &graph, &after, &edges, &count));
  CHECK_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  CHECK_EQ(count, 1);
  CHECK(after[0] == first_node(graph));
  CUgraphNode empty = nullptr;
  OK(CU(cuGraphAddEmptyNode)(&empty, graph, after, 1));
  OK(CU(cuStreamUpdateCaptureDependencies)(stream, &empty, nullptr, 1,
                                           CU_STREAM_SET_CAPTURE_DEPENDENCIES));
  OK(launch(world.function("spin"), stream, nullptr));
  const auto done = end_capture(stream);
  CHECK(done == graph);
  std::size_t edge_count = 0;
  OK(CU(cuGraphGetEdges)(graph, nullptr, nullptr, nullptr, &edge_count));
  CHECK_EQ(edge_count, 2);
}

TEST(captured_kernels_keep_their_context) {
  const auto world = World::instant();
  const auto green = make_green(0, 4);
  CUcontext context = nullptr;
  OK(CU(cuCtxFromGreenCtx)(&context, green));
  const auto stream = make_green_stream(green);
  begin_capture(stream);
  OK(launch(world.function("spin"), stream, nullptr));
  const auto graph = end_capture(stream);
  CUDA_KERNEL_NODE_PARAMS params{};
  OK(CU(cuGraphKernelNodeGetParams)(first_node(graph), &params));
  CHECK(params.ctx == context);
  params.ctx = world.context;
  params.gridDimX = 7;
  OK(CU(cuGraphKernelNodeSetParams)(first_node(graph), &params));
  OK(CU(cuGraphKernelNodeGetParams)(first_node(graph), &params));
  CHECK(params.ctx == context);
  CHECK_EQ(params.gridDimX, 7);
}

TEST(an_instance_is_updated_by_node_and_by_graph) {
  const auto world = World::instant();
  const auto stream = make_stream();
  const auto buffer = make_buffer(1);
  const auto capture = [&](std::uint32_t value) {
    begin_capture(stream);
    OK(CU(cuMemsetD32Async)(buffer, value, 1, stream));
    mix(world, stream, buffer, 1, value);
    return end_capture(stream);
  };
  const auto run = [&](CUgraphExec exec) {
    OK(CU(cuGraphLaunch)(exec, stream));
    OK(CU(cuStreamSynchronize)(stream));
    return first_value(buffer);
  };
  const auto first = capture(1);
  const auto second = capture(2);
  const auto exec = instantiate(first);
  const auto other = instantiate(second);
  const auto expected = run(other);
  CHECK(run(exec) != expected);
  CUgraphExecUpdateResultInfo info{};
  OK(CU(cuGraphExecUpdate)(exec, second, &info));
  CHECK_EQ(run(exec), expected);
  CUDA_MEMSET_NODE_PARAMS memset{};
  OK(CU(cuGraphMemsetNodeGetParams)(first_node(first), &memset));
  CHECK_EQ(memset.value, 1);
  CUgraph spare = nullptr;
  OK(CU(cuGraphCreate)(&spare, 0));
  CHECK_EQ(CU(cuGraphExecUpdate)(exec, spare, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  CHECK_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
  // By node: the node of the graph that the instance was made of names that of the instance.
  memset.value = 2;
  const auto third = instantiate(first);
  OK(CU(cuGraphExecMemsetNodeSetParams)(third, first_node(first), &memset, world.context));
  const auto changed = run(third);
  OK(CU(cuMemsetD32)(buffer, 2, 1));
  mix(world, nullptr, buffer, 1, 1);
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(first_value(buffer), changed);
}

TEST(child_graphs_and_clones_do_what_their_originals_do) {
  const auto world = World::instant();
  const auto stream = make_stream();
  const auto buffer = make_buffer(1);
  begin_capture(stream);
  mix(world, stream, buffer, 1, 1);
  mix(world, stream, buffer, 1, 2);
  const auto inner = end_capture(stream);
  const auto inner_exec = instantiate(inner);
  begin_capture(stream);
  mix(world, stream, buffer, 1, 3);
  OK(CU(cuGraphLaunch)(inner_exec, stream));
  mix(world, stream, buffer, 1, 4);
  const auto outer = end_capture(stream);
  CHECK_EQ(count_nodes(outer), 3);
  CUgraph clone = nullptr;
  OK(CU(cuGraphClone)(&clone, outer));
  CUgraphNode copy = nullptr;
  OK(CU(cuGraphNodeFindInClone)(&copy, first_node(outer), clone));
  CHECK(copy == first_node(clone));
  OK(CU(cuGraphDestroy)(outer));
  const auto exec = instantiate(clone);
  OK(CU(cuGraphDestroy)(clone));
  OK(CU(cuGraphLaunch)(exec, stream));
  OK(CU(cuStreamSynchronize)(stream));
  CHECK_EQ(first_value(buffer), mixed(world, {3, 1, 2, 4}));
}

TEST(external_events_of_a_graph_order_other_streams) {
  const auto world = World::instant();
  CUstream streams[] = {make_stream(), make_stream()};
  const auto buffer = make_buffer(1);
  const auto event = make_event();
  begin_capture(streams[0]);
  mix(world, streams[0], buffer, 1, 1);
  OK(CU(cuEventRecordWithFlags)(event, streams[0], CU_EVENT_RECORD_EXTERNAL));
  const auto exec = instantiate(end_capture(streams[0]));
  OK(CU(cuGraphLaunch)(exec, streams[0]));
  OK(CU(cuStreamWaitEvent)(streams[1], event, 0));
  mix(world, streams[1], buffer, 1, 2);
  OK(CU(cuStreamSynchronize)(streams[1]));
  CHECK_EQ(first_value(buffer), mixed(world, {1, 2}));
}

// A host function that ends when it is allowed to, and in any case some time.
struct Gate {
  std::atomic<int> allowed = 0;
  std::atomic<int> ended = 0;
  static void CUDA_CB pass(void* self) {
    auto& gate = *static_cast<Gate*>(self);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (gate.allowed <= gate.ended && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::yield();
    }
    ++gate.ended;
  }
};

// As the real driver (docs/driver-facts.md), on which the library must not rely.
TEST(waits_for_the_context_miss_the_last_launch_in_a_green_context) {
  const auto world = World::instant();
  const auto stream = make_green_stream(make_green(0, 4));
  const auto event = make_event();
  const auto buffer = make_buffer(1);
  Gate gate;
  begin_capture(stream);
  OK(launch(world.function("spin"), stream, nullptr));
  OK(CU(cuLaunchHostFunc)(stream, Gate::pass, &gate));
  const auto exec = instantiate(end_capture(stream));
  OK(CU(cuGraphLaunch)(exec, stream));
  OK(CU(cuGraphLaunch)(exec, stream));
  OK(CU(cuEventRecord)(event, stream));
  gate.allowed = 1;
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(gate.ended, 1);
  OK(CU(cuMemFree)(buffer));
  CHECK_EQ(gate.ended, 1);
  CHECK_EQ(CU(cuStreamQuery)(stream), CUDA_ERROR_NOT_READY);
  gate.allowed = 2;
  OK(CU(cuEventSynchronize)(event));
  CHECK_EQ(gate.ended, 2);
  // What comes after a launch is waited for, and so is the launch.
  gate.allowed = 3;
  OK(CU(cuGraphLaunch)(exec, stream));
  OK(launch(world.function("spin"), stream, nullptr));
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(gate.ended, 3);
}

TEST(graph_handles_are_checked) {
  World::instant();
  CUgraph graph = nullptr;
  OK(CU(cuGraphCreate)(&graph, 0));
  CUgraphNode a = nullptr;
  CUgraphNode b = nullptr;
  OK(CU(cuGraphAddEmptyNode)(&a, graph, nullptr, 0));
  OK(CU(cuGraphAddEmptyNode)(&b, graph, &a, 1));
  CHECK_EQ(CU(cuGraphAddDependencies)(graph, &b, &a, nullptr, 1), CUDA_ERROR_INVALID_VALUE);
  OK(CU(cuGraphDestroy)(graph));
  CUgraphNodeType type{};
  CHECK_EQ(CU(cuGraphNodeGetType)(a, &type), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(CU(cuGraphDestroy)(graph), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(CU(cuGraphLaunch)(reinterpret_cast<CUgraphExec>(graph), nullptr),
           CUDA_ERROR_INVALID_HANDLE);
}
