// The emulated CUPTI: what it records of launches, graphs, copies and memsets, and how it delivers.
#include <sys/wait.h>

#include <algorithm>
#include <set>
#include <thread>

#include "cupti_client.hpp"

using namespace fico::check;

namespace {

constexpr const char* kTracedModule =
    "fico-emulated-module\n"
    "kernel _Z4gemmPfi op=spin us_per_block=10 blocks_per_sm=4 registers=128 shared=2048\n"
    "kernel flat op=spin us_per_block=100 saturates_sms=32\n";

// What a start and an end may be off together: the clock counts in doubles, which after a year hold
// no more.
constexpr std::int64_t kTickNs = 10;

CUfunction traced_function(const char* name) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(CU(cuModuleLoadData)(&module, kTracedModule));
  OK(CU(cuModuleGetFunction)(&function, module, name));
  return function;
}

void launch_times(CUfunction function, CUstream stream, int times) {
  for (int i = 0; i < times; ++i) OK(launch(function, stream, nullptr));
}

std::size_t dropped_records() {
  std::size_t dropped = 0;
  CUPTI_OK(CUPTI(cuptiActivityGetNumDroppedRecords)(nullptr, 0, &dropped));
  return dropped;
}

std::uint64_t timestamp() {
  std::uint64_t now = 0;
  CUPTI_OK(CUPTI(cuptiGetTimestamp)(&now));
  return now;
}

}  // namespace

TEST(a_launch_is_recorded_as_it_was) {
  const auto world = World::timed();
  const auto function = traced_function("_Z4gemmPfi");
  const auto stream = make_stream();
  unsigned long long stream_id = 0;
  unsigned long long context_id = 0;
  OK(CU(cuStreamGetId)(stream, &stream_id));
  OK(CU(cuCtxGetId)(world.context, &context_id));
  client().start();
  const auto before = timestamp();
  OK(CU(cuLaunchKernel)(function, 264, 2, 1, 64, 4, 1, 512, stream, nullptr, nullptr));
  finish_and_flush();
  const auto after = timestamp();
  CHECK_EQ(client().kernels.size(), 1);
  const auto kernel = client().kernels.at(0);
  CHECK(std::string(kernel.name) == "_Z4gemmPfi");
  CHECK_EQ(kernel.gridX, 264);
  CHECK_EQ(kernel.gridY, 2);
  CHECK_EQ(kernel.gridZ, 1);
  CHECK_EQ(kernel.blockX, 64);
  CHECK_EQ(kernel.blockY, 4);
  CHECK_EQ(kernel.registersPerThread, 128);
  CHECK_EQ(kernel.staticSharedMemory, 2048);
  CHECK_EQ(kernel.dynamicSharedMemory, 512);
  CHECK_EQ(kernel.clusterX, 0);
  CHECK_EQ(kernel.streamId, stream_id);
  CHECK_EQ(kernel.contextId, context_id);
  CHECK_EQ(kernel.graphId, 0);
  CHECK_EQ(kernel.graphNodeId, 0);
  CHECK(kernel.correlationId != 0);
  // Alone, 528 blocks are one wave of 10 µs.
  const auto ns = static_cast<std::int64_t>(kernel.end - kernel.start);
  CHECK(std::abs(ns - 10'000) <= kTickNs);
  CHECK(before <= kernel.start && kernel.end <= after);
  CHECK_EQ(kernel.completed, kernel.end);
}

TEST(dilation_is_taken_out) {
  World::timed("20");
  const auto function = traced_function("_Z4gemmPfi");
  client().start();
  const auto before = timestamp();
  OK(launch(function, nullptr, nullptr, 264));
  finish_and_flush();
  const auto kernel = client().kernels.at(0);
  const auto ns = static_cast<std::int64_t>(kernel.end - kernel.start);
  CHECK(std::abs(ns - 10'000) <= kTickNs);
  CHECK(before <= kernel.start && kernel.end <= timestamp());
}

TEST(clusters_and_green_contexts_are_told) {
  const auto world = World::instant(nullptr);
  const auto stream = make_green_stream(make_green(0, 4));
  unsigned long long stream_id = 0;
  OK(CU(cuStreamGetId)(stream, &stream_id));
  client().start();
  CUlaunchAttribute cluster{};
  cluster.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  cluster.value.clusterDim = {2, 2, 1};
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = 4;
  config.gridDimZ = config.blockDimX = config.blockDimY = config.blockDimZ = 1;
  config.hStream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  OK(CU(cuLaunchKernelEx)(&config, world.function("spin"), nullptr, nullptr));
  OK(launch(world.function("spin"), nullptr, nullptr));
  finish_and_flush();
  auto& kernels = client().kernels;
  CHECK_EQ(kernels.size(), 2);
  std::ranges::sort(kernels, {}, &CUpti_ActivityKernel10::correlationId);
  CHECK_EQ(kernels.at(0).clusterX, 2);
  CHECK_EQ(kernels.at(0).clusterY, 2);
  CHECK_EQ(kernels.at(0).clusterZ, 1);
  CHECK_EQ(kernels.at(0).streamId, stream_id);
  CHECK(kernels.at(0).contextId != kernels.at(1).contextId);
}

TEST(nodes_of_a_graph_are_told_apart) {
  const auto world = World::instant(nullptr);
  const auto stream = make_stream();
  const auto buffer = make_buffer(64);
  CUgraph graph = nullptr;
  CUgraphExec execs[2] = {};
  OK(CU(cuStreamBeginCapture)(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(CU(cuMemsetD32Async)(buffer, 7, 32, stream));
  mix(world, stream, buffer, 32, 1);
  mix(world, stream, buffer, 32, 2);
  OK(CU(cuMemcpyDtoDAsync)(buffer + 128, buffer, 128, stream));
  OK(CU(cuStreamEndCapture)(stream, &graph));
  for (auto& exec : execs) OK(CU(cuGraphInstantiate)(&exec, graph, 0));
  client().start();
  OK(CU(cuGraphLaunch)(execs[0], stream));
  OK(CU(cuGraphLaunch)(execs[0], stream));
  OK(CU(cuGraphLaunch)(execs[1], stream));
  finish_and_flush();

  const auto& kernels = client().kernels;
  CHECK_EQ(kernels.size(), 6);
  CHECK_EQ(client().copies.size(), 3);
  CHECK_EQ(client().memsets.size(), 3);
  for (std::size_t i = 0; i < 6; i += 2) {
    const auto& copy = client().copies.at(i / 2);
    const auto& memset = client().memsets.at(i / 2);
    // A launch is one call.
    CHECK_EQ(kernels.at(i).correlationId, kernels.at(i + 1).correlationId);
    CHECK_EQ(kernels.at(i).correlationId, copy.correlationId);
    CHECK_EQ(kernels.at(i).correlationId, memset.correlationId);
    CHECK_EQ(kernels.at(i).graphId, copy.graphId);
    const std::set<std::uint64_t> nodes{kernels.at(i).graphNodeId, kernels.at(i + 1).graphNodeId,
                                        copy.graphNodeId, memset.graphNodeId};
    CHECK_EQ(nodes.size(), 4);
    CHECK(!nodes.contains(0));
  }
  CHECK(kernels.at(0).correlationId != kernels.at(2).correlationId);
  CHECK(kernels.at(0).graphId != 0);
  CHECK_EQ(kernels.at(0).graphId, kernels.at(2).graphId);
  CHECK_EQ(kernels.at(0).graphNodeId, kernels.at(2).graphNodeId);
  CHECK(kernels.at(0).graphId != kernels.at(4).graphId);
  CHECK(kernels.at(0).graphNodeId != kernels.at(4).graphNodeId);
}

TEST(copies_and_memsets_are_recorded) {
  World::instant(nullptr);
  const auto buffer = make_buffer(1024);
  std::vector<std::uint32_t> pageable(1024);
  void* pinned = nullptr;
  OK(CU(cuMemAllocHost)(&pinned, 4096));
  const auto stream = make_stream();
  client().start({CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET});
  OK(CU(cuMemcpyHtoD)(buffer, pageable.data(), 4096));
  OK(CU(cuMemcpyDtoHAsync)(pinned, buffer, 2048, stream));
  OK(CU(cuMemcpyDtoDAsync)(buffer, buffer + 2048, 1024, stream));
  OK(CU(cuMemsetD16Async)(buffer, 0xABCD, 100, stream));
  finish_and_flush();
  const auto& copies = client().copies;
  CHECK_EQ(copies.size(), 3);
  CHECK_EQ(copies.at(0).copyKind, CUPTI_ACTIVITY_MEMCPY_KIND_HTOD);
  CHECK_EQ(copies.at(0).srcKind, CUPTI_ACTIVITY_MEMORY_KIND_PAGEABLE);
  CHECK_EQ(copies.at(0).dstKind, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE);
  CHECK_EQ(copies.at(0).bytes, 4096);
  CHECK_EQ(copies.at(0).copyCount, 1);
  CHECK_EQ(copies.at(1).copyKind, CUPTI_ACTIVITY_MEMCPY_KIND_DTOH);
  CHECK_EQ(copies.at(1).dstKind, CUPTI_ACTIVITY_MEMORY_KIND_PINNED);
  CHECK_EQ(copies.at(1).bytes, 2048);
  CHECK_EQ(copies.at(2).copyKind, CUPTI_ACTIVITY_MEMCPY_KIND_DTOD);
  CHECK_EQ(client().memsets.size(), 1);
  CHECK_EQ(client().memsets.at(0).bytes, 200);
  CHECK_EQ(client().memsets.at(0).value, 0xABCD);
  CHECK_EQ(client().memsets.at(0).memoryKind, CUPTI_ACTIVITY_MEMORY_KIND_DEVICE);
  const std::set<std::uint32_t> calls{copies.at(0).correlationId, copies.at(1).correlationId,
                                      copies.at(2).correlationId,
                                      client().memsets.at(0).correlationId};
  CHECK_EQ(calls.size(), 4);
}

TEST(kernels_of_two_streams_are_seen_to_overlap) {
  World::timed();
  const auto flat = traced_function("flat");
  const CUstream streams[] = {make_stream(), make_stream()};
  CUevent both = nullptr;
  OK(CU(cuEventCreate)(&both, CU_EVENT_DEFAULT));
  client().start();
  // Held back until both are submitted, so that the moments of the calls do not matter.
  std::atomic<bool> is_open{false};
  const auto gate = [](void* open) { static_cast<std::atomic<bool>*>(open)->wait(false); };
  OK(CU(cuLaunchHostFunc)(streams[0], gate, &is_open));
  OK(CU(cuEventRecord)(both, streams[0]));
  OK(CU(cuStreamWaitEvent)(streams[1], both, 0));
  for (auto* stream : streams) OK(launch(flat, stream, nullptr, 32));
  is_open = true;
  is_open.notify_all();
  finish_and_flush();
  const auto& kernels = client().kernels;
  CHECK_EQ(kernels.size(), 2);
  CHECK(kernels.at(0).streamId != kernels.at(1).streamId);
  CHECK(kernels.at(0).start < kernels.at(1).end && kernels.at(1).start < kernels.at(0).end);
}

TEST(only_what_is_enabled_is_recorded) {
  const auto world = World::instant(nullptr);
  const auto spin = world.function("spin");
  const auto buffer = make_buffer(64);
  CUPTI_OK(CUPTI(cuptiActivityRegisterCallbacks)(Client::give, Client::take));
  launch_times(spin, nullptr, 3);
  finish_and_flush();
  CHECK(client().buffers.empty());
  CUPTI_OK(CUPTI(cuptiActivityEnable)(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  launch_times(spin, nullptr, 4);
  OK(CU(cuMemsetD8)(buffer, 1, 64));
  finish_and_flush();
  CHECK_EQ(client().kernels.size(), 4);
  CHECK_EQ(client().memsets.size(), 0);
  CUPTI_OK(CUPTI(cuptiActivityDisable)(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  launch_times(spin, nullptr, 5);
  finish_and_flush();
  CHECK_EQ(client().kernels.size(), 4);
  CHECK_EQ(client().open_buffers, 0);
}

TEST(nothing_is_left_after_it_has_gone) {
  const auto world = World::instant(nullptr);
  const auto spin = world.function("spin");
  client().start();
  launch_times(spin, nullptr, 3);
  finish_and_flush();
  CUPTI_OK(CUPTI(cuptiFinalize)());
  launch_times(spin, nullptr, 4);
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(CUPTI(cuptiActivityFlushAll)(0), CUPTI_ERROR_INVALID_OPERATION);
  CHECK_EQ(client().open_buffers, 0);
  client().start();
  launch_times(spin, nullptr, 5);
  finish_and_flush();
  CHECK_EQ(client().kernels.size(), 8);
}

TEST(work_under_way_when_recording_stops_is_left_out) {
  const auto world = World::instant(nullptr);
  std::atomic<bool> is_open{false};
  const auto gate = [](void* open) { static_cast<std::atomic<bool>*>(open)->wait(false); };
  const auto stream = make_stream();
  client().start();
  OK(CU(cuLaunchHostFunc)(stream, gate, &is_open));
  launch_times(world.function("spin"), stream, 1);
  CUPTI_OK(CUPTI(cuptiActivityDisable)(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL));
  is_open = true;
  is_open.notify_all();
  finish_and_flush();
  CHECK(client().kernels.empty());
}

TEST(buffers_are_filled_and_given_back_in_order) {
  const auto world = World::instant(nullptr);
  client().buffer_bytes = 3 * sizeof(CUpti_ActivityKernel10) + 8;
  client().start();
  launch_times(world.function("spin"), nullptr, 8);
  finish_and_flush();
  CHECK((client().buffers == std::vector<std::size_t>{3, 3, 2}));
  CHECK(std::ranges::is_sorted(client().kernels, {}, &CUpti_ActivityKernel10::correlationId));
  CHECK(std::ranges::is_sorted(client().kernels, {}, &CUpti_ActivityKernel10::start));
}

TEST(a_buffer_takes_no_more_records_than_it_may) {
  const auto world = World::instant(nullptr);
  client().most_records = 5;
  client().start();
  launch_times(world.function("spin"), nullptr, 11);
  finish_and_flush();
  CHECK((client().buffers == std::vector<std::size_t>{5, 5, 1}));
}

TEST(records_without_room_are_counted) {
  const auto world = World::instant(nullptr);
  client().refuses = true;
  client().start();
  launch_times(world.function("spin"), nullptr, 7);
  finish_and_flush();
  CHECK_EQ(dropped_records(), 7);
  CHECK_EQ(dropped_records(), 0);
  client().refuses = false;
  launch_times(world.function("spin"), nullptr, 2);
  finish_and_flush();
  CHECK_EQ(dropped_records(), 0);
  CHECK_EQ(client().kernels.size(), 2);
  // A buffer that is too small is given back empty.
  client().buffer_bytes = 16;
  launch_times(world.function("spin"), nullptr, 1);
  finish_and_flush();
  CHECK_EQ(dropped_records(), 1);
  CHECK_EQ(client().buffers.back(), 0);
  CHECK_EQ(client().open_buffers, 0);
}

TEST(full_buffers_come_without_a_flush) {
  const auto world = World::instant(nullptr);
  client().most_records = 100;
  client().start();
  const auto spin = world.function("spin");
  launch_times(spin, nullptr, 3000);
  std::unique_lock lock(client().mutex);
  client().changed.wait(lock, [] { return client().kernels.size() >= 1000; });
}

TEST(full_buffers_come_after_the_period) {
  const auto world = World::instant(nullptr);
  client().most_records = 2;
  client().start();
  CUPTI_OK(CUPTI(cuptiActivityFlushPeriod)(1));
  launch_times(world.function("spin"), nullptr, 5);
  std::unique_lock lock(client().mutex);
  client().changed.wait(lock, [] { return client().kernels.size() == 4; });
}

TEST(nothing_is_lost_between_threads) {
  const auto world = World::instant(nullptr);
  client().most_records = 64;
  client().start();
  const auto spin = world.function("spin");
  constexpr int kLaunches = 2000;
  constexpr int kThreads = 3;
  std::atomic<bool> is_over{false};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      OK(CU(cuCtxSetCurrent)(world.context));
      launch_times(spin, make_stream(), kLaunches);
    });
  }
  std::thread flusher([&] {
    while (!is_over) CUPTI_OK(CUPTI(cuptiActivityFlushAll)(0));
  });
  std::thread switcher([&] {
    while (!is_over) {
      CUPTI_OK(CUPTI(cuptiActivityEnable)(CUPTI_ACTIVITY_KIND_MEMSET));
      CUPTI_OK(CUPTI(cuptiActivityDisable)(CUPTI_ACTIVITY_KIND_MEMSET));
    }
  });
  for (auto& thread : threads) thread.join();
  is_over = true;
  flusher.join();
  switcher.join();
  finish_and_flush();
  CHECK_EQ(client().kernels.size(), kThreads * kLaunches);
  std::set<std::uint32_t> calls;
  for (const auto& kernel : client().kernels) calls.insert(kernel.correlationId);
  CHECK_EQ(calls.size(), kThreads * kLaunches);
}

TEST(names_outlive_their_module) {
  World::instant(nullptr);
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(CU(cuModuleLoadData)(&module, kTracedModule));
  OK(CU(cuModuleGetFunction)(&function, module, "flat"));
  client().start();
  launch_times(function, nullptr, 1);
  OK(CU(cuModuleUnload)(module));
  finish_and_flush();
  CHECK(std::string(client().kernels.at(0).name) == "flat");
}

TEST(wrong_calls_are_refused) {
  std::uint64_t now = 0;
  CHECK_EQ(CUPTI(cuptiGetTimestamp)(nullptr), CUPTI_ERROR_INVALID_PARAMETER);
  library();  // it is there, but cuInit has not been called
  CHECK_EQ(CUPTI(cuptiGetTimestamp)(&now), CUPTI_ERROR_NOT_INITIALIZED);
  World::instant(nullptr);
  CHECK_EQ(CUPTI(cuptiActivityFlushAll)(0), CUPTI_ERROR_INVALID_OPERATION);
  CHECK_EQ(CUPTI(cuptiActivityRegisterCallbacks)(nullptr, nullptr), CUPTI_ERROR_INVALID_PARAMETER);
  CHECK_EQ(CUPTI(cuptiActivityEnable)(CUPTI_ACTIVITY_KIND_DRIVER), CUPTI_ERROR_INVALID_KIND);
  CHECK_EQ(CUPTI(cuptiActivityDisable)(CUPTI_ACTIVITY_KIND_INVALID), CUPTI_ERROR_INVALID_KIND);
  CHECK_EQ(CUPTI(cuptiActivityGetNumDroppedRecords)(nullptr, 0, nullptr),
           CUPTI_ERROR_INVALID_PARAMETER);
  std::size_t bytes = sizeof(std::size_t);
  std::size_t value = 1 << 20;
  const auto set = CUPTI(cuptiActivitySetAttribute);
  CUPTI_OK(set(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE, &bytes, &value));
  CHECK_EQ(set(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE, nullptr, &value),
           CUPTI_ERROR_INVALID_PARAMETER);
  bytes = 1;
  CHECK_EQ(set(CUPTI_ACTIVITY_ATTR_DEVICE_BUFFER_SIZE, &bytes, &value),
           CUPTI_ERROR_PARAMETER_SIZE_NOT_SUFFICIENT);
  CUPTI_OK(set(CUPTI_ACTIVITY_ATTR_PER_THREAD_ACTIVITY_BUFFER, &bytes, &value));
  CUpti_Activity garbage[4] = {};
  CUpti_Activity* record = nullptr;
  CHECK_EQ(CUPTI(cuptiActivityGetNextRecord)(reinterpret_cast<std::uint8_t*>(garbage),
                                             sizeof garbage, &record),
           CUPTI_ERROR_INVALID_KIND);
  const char* text = nullptr;
  CUPTI_OK(CUPTI(cuptiGetResultString)(CUPTI_ERROR_INVALID_KIND, &text));
  CHECK(std::string(text) == "CUPTI_ERROR_INVALID_KIND");
  std::uint32_t version = 0;
  CUPTI_OK(CUPTI(cuptiGetVersion)(&version));
  CHECK_EQ(version, CUPTI_API_VERSION);
}

TEST(a_forked_child_records_nothing) {
  const auto world = World::instant(nullptr);
  client().start();
  launch_times(world.function("spin"), nullptr, 1);
  if (const pid_t child = fork(); child == 0) {
    _exit(CUPTI(cuptiActivityFlushAll)(1) == CUPTI_ERROR_NOT_INITIALIZED ? 0 : 1);
  } else {  // NOLINT(readability-else-after-return): `child` lives here alone
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
  }
  finish_and_flush();
  CHECK_EQ(client().kernels.size(), 1);
}

TEST(processes_of_a_device_share_the_clock) {
  int ends[2] = {};
  CHECK_EQ(pipe(ends), 0);
  const pid_t child = fork();
  World::timed("2");
  if (child == 0) {
    const auto now = timestamp();
    _exit(write(ends[1], &now, sizeof now) == sizeof now ? 0 : 1);
  }
  const auto before = timestamp();
  std::uint64_t other = 0;
  CHECK_EQ(read(ends[0], &other, sizeof other), sizeof other);
  waitpid(child, nullptr, 0);
  // A second is far more than the two can differ by, and far less than clocks of different origin.
  const auto apart = static_cast<std::int64_t>(other - before);
  CHECK(std::abs(apart) < 1'000'000'000);
  CHECK(other < timestamp());
}

TEST(an_injected_library_is_initialised_once) {
  setenv("CUDA_INJECTION64_PATH", FICO_INJECTED_LIBRARY, 1);
  std::vector<std::thread> threads;
  void* injected[4] = {};
  threads.reserve(std::size(injected));
  for (auto& found : injected) {
    threads.emplace_back([&found] {
      OK(CU(cuInit)(0));
      found = dlopen(FICO_INJECTED_LIBRARY, RTLD_NOW | RTLD_NOLOAD);
    });
  }
  for (auto& thread : threads) thread.join();
  // No thread came back from cuInit before the library was there.
  CHECK(std::ranges::find(injected, nullptr) == std::end(injected));
  CHECK_EQ(*static_cast<std::atomic<int>*>(dlsym(injected[0], "injected_count")), 1);
  CHECK_EQ(*static_cast<std::atomic<int>*>(dlsym(injected[0], "injected_devices")), 1);
}

TEST(a_library_that_cannot_be_injected_is_ignored) {
  setenv("CUDA_INJECTION64_PATH", "/no/such/library.so", 1);
  const auto world = World::instant(nullptr);
  launch_times(world.function("spin"), nullptr, 1);
  OK(CU(cuCtxSynchronize)());
}

int main(int argc, char** argv) { return run_all(argc, argv); }
