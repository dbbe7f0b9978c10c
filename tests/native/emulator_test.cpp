// The emulated device: what it promises about order, partitions, time and handles.
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "emulator_world.hpp"

using namespace fico::check;

namespace {

// The result of a chain of mixes in the given order, computed one at a time.
std::uint32_t mixed(const World& world, std::initializer_list<std::uint32_t> seeds) {
  const auto buffer = make_buffer(1);
  for (auto seed : seeds) {
    mix(world, nullptr, buffer, 1, seed);
    OK(CU(cuCtxSynchronize)());
  }
  return first_value(buffer);
}

struct Gate {
  std::atomic<bool> open{false};
  static void wait(void* self) {
    auto& gate = *static_cast<Gate*>(self);
    while (!gate.open) std::this_thread::yield();
  }
};

}  // namespace

TEST(calls_before_init_are_refused) {
  int count = 0;
  CHECK_EQ(CU(cuDeviceGetCount)(&count), CUDA_ERROR_NOT_INITIALIZED);
  OK(CU(cuInit)(0));
  OK(CU(cuDeviceGetCount)(&count));
  CHECK_EQ(count, 1);
}

TEST(forked_child_is_not_initialised) {
  World::instant();
  if (const pid_t child = fork(); child == 0) {
    int count = 0;
    _exit(CU(cuDeviceGetCount)(&count) == CUDA_ERROR_NOT_INITIALIZED &&
                  CU(cuInit)(0) == CUDA_ERROR_NOT_INITIALIZED
              ? 0
              : 1);
  } else {  // NOLINT(readability-else-after-return): `child` lives here alone
    int status = -1;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
  }
}

TEST(proc_address_gives_the_newest_form_of_a_version) {
  void* found = nullptr;
  CUdriverProcAddressQueryResult status{};
  const auto get = CU(cuGetProcAddress);
  const auto symbol = [](const char* name) { return dlsym(library(), name); };
  OK(get("cuCtxCreate", &found, 12000, 0, &status));
  CHECK(found == symbol("cuCtxCreate_v3"));
  OK(get("cuCtxCreate", &found, 13000, 0, &status));
  CHECK(found == symbol("cuCtxCreate_v4"));
  OK(get("cuMemcpyHtoD", &found, 13000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
  CHECK(found == symbol("cuMemcpyHtoD_v2_ptds"));
  OK(get("cuLaunchKernel", &found, 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, &status));
  CHECK(found == symbol("cuLaunchKernel_ptsz"));
  OK(get("cuGetProcAddress", &found, 11030, 0, &status));
  CHECK(found == symbol("cuGetProcAddress"));
  CHECK_EQ(get("cuNoSuchThing", &found, 13000, 0, &status), CUDA_ERROR_NOT_FOUND);
  CHECK_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
  CHECK_EQ(get("cuGreenCtxCreate", &found, 12000, 0, &status), CUDA_ERROR_NOT_FOUND);
  CHECK_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
}

TEST(one_stream_keeps_its_order) {
  const auto world = World::instant();
  const auto expected = mixed(world, {1, 2, 3, 4, 5, 6, 7, 8});
  const auto stream = make_stream();
  for (int round = 0; round < 20; ++round) {
    const auto buffer = make_buffer(1);
    for (std::uint32_t seed = 1; seed <= 8; ++seed) mix(world, stream, buffer, 1, seed);
    OK(CU(cuStreamSynchronize)(stream));
    CHECK_EQ(first_value(buffer), expected);
  }
}

TEST(unordered_streams_change_places) {
  const auto world = World::instant();
  const auto expected = mixed(world, {1, 2});
  CUstream streams[] = {make_stream(), make_stream()};
  int in_order = 0;
  constexpr int rounds = 200;
  for (int round = 0; round < rounds; ++round) {
    const auto buffer = make_buffer(1);
    mix(world, streams[0], buffer, 1, 1);
    mix(world, streams[1], buffer, 1, 2);
    OK(CU(cuCtxSynchronize)());
    in_order += first_value(buffer) == expected;
  }
  CHECK(in_order > 0);
  CHECK(in_order < rounds);
}

TEST(an_event_orders_two_streams) {
  const auto world = World::instant();
  const auto expected = mixed(world, {1, 2});
  CUstream streams[] = {make_stream(), make_stream()};
  CUevent event = nullptr;
  OK(CU(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING));
  for (int round = 0; round < 200; ++round) {
    const auto buffer = make_buffer(1);
    mix(world, streams[0], buffer, 1, 1);
    OK(CU(cuEventRecord)(event, streams[0]));
    OK(CU(cuStreamWaitEvent)(streams[1], event, 0));
    // A later record must not matter to the wait above.
    OK(CU(cuEventRecord)(event, streams[0]));
    mix(world, streams[1], buffer, 1, 2);
    OK(CU(cuStreamSynchronize)(streams[1]));
    CHECK_EQ(first_value(buffer), expected);
  }
}

TEST(the_legacy_stream_orders_blocking_streams) {
  const auto world = World::instant();
  const auto expected = mixed(world, {1, 2, 3});
  CUstream streams[] = {make_stream(CU_STREAM_DEFAULT), make_stream(CU_STREAM_DEFAULT)};
  for (int round = 0; round < 100; ++round) {
    const auto buffer = make_buffer(1);
    mix(world, streams[0], buffer, 1, 1);
    mix(world, nullptr, buffer, 1, 2);
    mix(world, streams[1], buffer, 1, 3);
    OK(CU(cuStreamSynchronize)(streams[1]));
    CHECK_EQ(first_value(buffer), expected);
  }
}

TEST(the_legacy_stream_does_not_order_non_blocking_streams) {
  const auto world = World::instant();
  const auto expected = mixed(world, {1, 2});
  const auto stream = make_stream();
  int in_order = 0;
  for (int round = 0; round < 200; ++round) {
    const auto buffer = make_buffer(1);
    mix(world, stream, buffer, 1, 1);
    mix(world, nullptr, buffer, 1, 2);
    OK(CU(cuCtxSynchronize)());
    in_order += first_value(buffer) == expected;
  }
  CHECK(in_order < 200);
}

TEST(per_thread_streams_are_blocking_and_distinct) {
  const auto world = World::instant();
  unsigned long long ids[2] = {};
  OK(CU(cuStreamGetId)(CU_STREAM_PER_THREAD, &ids[0]));
  std::thread([&] {
    OK(CU(cuCtxSetCurrent)(world.context));
    OK(CU(cuStreamGetId)(CU_STREAM_PER_THREAD, &ids[1]));
  }).join();
  CHECK(ids[0] != ids[1]);
  const auto expected = mixed(world, {1, 2});
  for (int round = 0; round < 100; ++round) {
    const auto buffer = make_buffer(1);
    mix(world, CU_STREAM_PER_THREAD, buffer, 1, 1);
    mix(world, CU_STREAM_LEGACY, buffer, 1, 2);
    OK(CU(cuStreamSynchronize)(CU_STREAM_LEGACY));
    CHECK_EQ(first_value(buffer), expected);
  }
}

TEST(destroyed_streams_still_count_for_the_legacy_stream) {
  const auto world = World::instant();
  const auto expected = mixed(world, {1, 2});
  for (int round = 0; round < 50; ++round) {
    const auto buffer = make_buffer(1);
    const auto stream = make_stream(CU_STREAM_DEFAULT);
    mix(world, stream, buffer, 1, 1);
    OK(CU(cuStreamDestroy)(stream));
    mix(world, nullptr, buffer, 1, 2);
    OK(CU(cuStreamSynchronize)(nullptr));
    CHECK_EQ(first_value(buffer), expected);
  }
}

TEST(pageable_sources_are_read_at_the_call) {
  World::instant();
  const auto stream = make_stream();
  const auto buffer = make_buffer(1);
  for (std::uint32_t round = 1; round < 50; ++round) {
    std::uint32_t value = round;
    OK(CU(cuMemcpyHtoDAsync)(buffer, &value, sizeof value, stream));
    value = 0;
    std::uint32_t back = 0;
    OK(CU(cuMemcpyDtoHAsync)(&back, buffer, sizeof back, stream));
    CHECK_EQ(back, round);
  }
}

TEST(pinned_sources_are_read_late) {
  World::instant();
  const auto stream = make_stream();
  const auto buffer = make_buffer(1);
  std::uint32_t* pinned = nullptr;
  OK(CU(cuMemAllocHost)(reinterpret_cast<void**>(&pinned), sizeof *pinned));
  Gate gate;
  *pinned = 1;
  OK(CU(cuLaunchHostFunc)(stream, Gate::wait, &gate));
  OK(CU(cuMemcpyHtoDAsync)(buffer, pinned, sizeof *pinned, stream));
  *pinned = 2;
  CHECK_EQ(CU(cuStreamQuery)(stream), CUDA_ERROR_NOT_READY);
  gate.open = true;
  OK(CU(cuStreamSynchronize)(stream));
  CHECK_EQ(first_value(buffer), 2);
}

TEST(host_functions_may_not_call_the_driver) {
  World::instant();
  CUresult result = CUDA_SUCCESS;
  OK(CU(cuLaunchHostFunc)(
      nullptr, [](void* out) { *static_cast<CUresult*>(out) = CU(cuCtxSynchronize)(); }, &result));
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(result, CUDA_ERROR_NOT_PERMITTED);
}

TEST(a_blocked_host_function_holds_up_its_stream_only) {
  const auto world = World::instant();
  CUstream streams[] = {make_stream(), make_stream()};
  const auto buffer = make_buffer(1);
  Gate gate;
  OK(CU(cuLaunchHostFunc)(streams[0], Gate::wait, &gate));
  mix(world, streams[1], buffer, 1, 1);
  OK(CU(cuStreamSynchronize)(streams[1]));
  CHECK_EQ(CU(cuStreamQuery)(streams[0]), CUDA_ERROR_NOT_READY);
  gate.open = true;
  OK(CU(cuStreamSynchronize)(streams[0]));
}

TEST(value_waits_hold_a_stream) {
  World::instant();
  CUstream streams[] = {make_stream(), make_stream()};
  const auto buffer = make_buffer(1);
  OK(CU(cuStreamWaitValue32)(streams[0], buffer, 7, CU_STREAM_WAIT_VALUE_GEQ));
  OK(CU(cuStreamSynchronize)(streams[1]));
  CHECK_EQ(CU(cuStreamQuery)(streams[0]), CUDA_ERROR_NOT_READY);
  OK(CU(cuStreamWriteValue32)(streams[1], buffer, 7, 0));
  OK(CU(cuStreamSynchronize)(streams[0]));
}

TEST(unknown_handles_are_refused) {
  const auto world = World::instant();
  auto* wrong = reinterpret_cast<CUstream>(0x1234);
  CHECK_EQ(CU(cuStreamSynchronize)(wrong), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(CU(cuStreamDestroy)(wrong), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(CU(cuEventQuery)(reinterpret_cast<CUevent>(0x99)), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(launch(reinterpret_cast<CUfunction>(0x77), nullptr, nullptr), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(CU(cuCtxSetCurrent)(reinterpret_cast<CUcontext>(0x55)), CUDA_ERROR_INVALID_CONTEXT);
  CHECK_EQ(launch(world.function("spin"), wrong, nullptr), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(CU(cuMemFree)(0x1000), CUDA_ERROR_INVALID_VALUE);
}

TEST(a_faulting_kernel_fails_all_later_calls) {
  const auto world = World::instant();
  const auto spin = world.function("spin");
  OK(launch(world.function("fault"), nullptr, nullptr));
  CHECK_EQ(CU(cuCtxSynchronize)(), CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK_EQ(launch(spin, nullptr, nullptr), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(parameters_arrive_from_pointers_and_from_a_buffer) {
  const auto world = World::instant();
  auto buffer = make_buffer(4);
  std::uint32_t count = 4;
  std::uint32_t value = 5;
  void* params[] = {&buffer, &count, &value};
  OK(launch(world.function("fill"), nullptr, params));
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(first_value(buffer + 12), 5);
  struct {
    CUdeviceptr buffer;
    std::uint32_t count;
    std::uint32_t value;
  } packed{buffer, 4, 9};
  std::size_t bytes = sizeof packed;
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                   CU_LAUNCH_PARAM_END};
  OK(CU(cuLaunchKernel)(world.function("fill"), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  OK(CU(cuCtxSynchronize)());
  CHECK_EQ(first_value(buffer + 12), 9);
  std::size_t offset = 0;
  std::size_t size = 0;
  OK(CU(cuFuncGetParamInfo)(world.function("args"), 3, &offset, &size));
  CHECK_EQ(offset, 16);
  CHECK_EQ(size, 16);
  CHECK_EQ(CU(cuFuncGetParamInfo)(world.function("args"), 4, &offset, &size),
           CUDA_ERROR_INVALID_VALUE);
}

TEST(sms_split_as_on_the_real_device) {
  World::instant();
  CUdevResource device{};
  OK(CU(cuDeviceGetDevResource)(0, &device, CU_DEV_RESOURCE_TYPE_SM));
  CHECK_EQ(device.sm.smCount, 132);
  const auto split = [&](unsigned min, unsigned flags, unsigned groups, unsigned rest_sms) {
    unsigned count = 0;
    OK(CU(cuDevSmResourceSplitByCount)(nullptr, &count, &device, nullptr, flags, min));
    CHECK_EQ(count, groups);
    std::vector<CUdevResource> result(count);
    CUdevResource rest{};
    OK(CU(cuDevSmResourceSplitByCount)(result.data(), &count, &device, &rest, flags, min));
    CHECK_EQ(rest.sm.smCount, rest_sms);
    result.push_back(rest);
    if (!rest_sms) return;
    CUdevResourceDesc all = nullptr;
    OK(CU(cuDevResourceGenerateDesc)(&all, result.data(), count + 1));
    CUgreenCtx green = nullptr;
    OK(CU(cuGreenCtxCreate)(&green, all, 0, CU_GREEN_CTX_DEFAULT_STREAM));
    CUdevResource back{};
    OK(CU(cuGreenCtxGetDevResource)(green, &back, CU_DEV_RESOURCE_TYPE_SM));
    CHECK_EQ(back.sm.smCount, 132);
    OK(CU(cuGreenCtxDestroy)(green));
  };
  split(8, 0, 15, 12);
  split(16, 0, 8, 4);
  split(2, CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING, 66, 0);
  split(4, CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING, 33, 0);
}

TEST(green_streams_are_non_blocking_and_belong_to_their_context) {
  World::instant();
  const auto green = make_green(0, 4);
  CUstream stream = nullptr;
  CHECK_EQ(CU(cuGreenCtxStreamCreate)(&stream, green, CU_STREAM_DEFAULT, 0),
           CUDA_ERROR_INVALID_VALUE);
  stream = make_green_stream(green);
  CUgreenCtx back = nullptr;
  OK(CU(cuStreamGetGreenCtx)(stream, &back));
  CHECK(back == green);
  Gate gate;
  OK(CU(cuLaunchHostFunc)(stream, Gate::wait, &gate));
  std::thread opener([&] { gate.open = true; });
  OK(CU(cuCtxSynchronize)());  // of the primary context: it waits for green streams too
  OK(CU(cuStreamQuery)(stream));
  opener.join();
}

TEST(cooperative_grids_must_fit_the_partition) {
  const auto world = World::instant();
  const auto stream = make_green_stream(make_green(0, 2));  // 16 SMs, 4 blocks each
  const auto cooperative = [&](unsigned blocks, CUstream where) {
    return CU(cuLaunchCooperativeKernel)(world.function("spin"), blocks, 1, 1, 32, 1, 1, 0, where,
                                         nullptr);
  };
  OK(cooperative(64, stream));
  CHECK_EQ(cooperative(65, stream), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  OK(cooperative(528, nullptr));
  CHECK_EQ(cooperative(529, nullptr), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
}

// Whether what is launched takes as long: never less, and no more at least once, as a busy machine
// makes it longer.
template <typename Launches>
bool takes_ms(CUstream stream, double expected_ms, const Launches& launches) {
  CUevent events[2];
  for (auto& event : events) OK(CU(cuEventCreate)(&event, CU_EVENT_DEFAULT));
  float shortest_ms = HUGE_VALF;
  const auto fits = [&] { return shortest_ms < expected_ms * 1.01 + 1; };
  for (int tries = 0; tries < 25 && !fits(); ++tries) {
    OK(CU(cuEventRecord)(events[0], stream));
    launches();
    OK(CU(cuEventRecord)(events[1], stream));
    OK(CU(cuStreamSynchronize)(stream));
    float ms = 0;
    OK(CU(cuEventElapsedTime)(&ms, events[0], events[1]));
    shortest_ms = std::min(shortest_ms, ms);
  }
  const bool ok = shortest_ms >= expected_ms * 0.999 && fits();
  if (!ok) std::fprintf(stderr, "%g ms instead of %g\n", shortest_ms, expected_ms);
  return ok;
}

TEST(a_kernel_follows_its_curve) {
  const auto world = World::timed();
  const double expected_ms[] = {9, 5, 4, 4};
  for (unsigned units = 1; units <= 4; ++units) {
    const auto stream = make_green_stream(make_green(2, 2 + units));
    CHECK(takes_ms(stream, expected_ms[units - 1],
                   [&] { OK(launch(world.function("curved"), stream, nullptr, 1000)); }));
  }
}

TEST(kernels_that_are_not_understood_are_refused) {
  [[maybe_unused]] const auto world = World::instant();
  std::fclose(stderr);  // a line is said there for each
  for (const char* options :
       {"curve=", "curve=1,2", "curve=0", "curve=2,x", "pressure=1,1", "sensitivity=0,-1,0",
        "curve=17,16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1", "us_per_block=", "unknown=1"}) {
    const auto text = std::string("fico-emulated-module\nkernel k op=spin ") + options + "\n";
    CUmodule module = nullptr;
    CHECK(CU(cuModuleLoadData)(&module, text.c_str()) != CUDA_SUCCESS);
  }
}

TEST(a_chain_of_kernels_takes_the_modelled_time) {
  const auto world = World::timed();
  const auto stream = make_stream();
  constexpr int kernels = 20;
  const auto launches = [&] {
    for (int i = 0; i < kernels; ++i) OK(launch(world.function("slow"), stream, nullptr, 132));
  };
  CHECK(takes_ms(stream, kernels, launches));
}

TEST(memory_is_accounted) {
  World::timed();
  std::size_t before = 0;
  std::size_t after = 0;
  std::size_t total = 0;
  OK(CU(cuMemGetInfo)(&before, &total));
  CHECK_EQ(total, 141'000'000'000);
  CUdeviceptr buffer = 0;
  OK(CU(cuMemAlloc)(&buffer, 1 << 30));
  OK(CU(cuMemGetInfo)(&after, &total));
  CHECK_EQ(before - after, 1 << 30);
  CUdeviceptr huge = 0;
  CHECK_EQ(CU(cuMemAlloc)(&huge, total), CUDA_ERROR_OUT_OF_MEMORY);
  OK(CU(cuMemFree)(buffer));
  OK(CU(cuMemGetInfo)(&after, &total));
  CHECK_EQ(before, after);
}

TEST(a_memory_limit_of_mps_holds) {
  setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=64M,1=1G", 1);
  World::instant();
  std::size_t free = 0;
  std::size_t total = 0;
  OK(CU(cuMemGetInfo)(&free, &total));
  CHECK_EQ(total, 64 << 20);
  CUdeviceptr buffer = 0;
  OK(CU(cuMemAlloc)(&buffer, 48 << 20));
  CHECK_EQ(CU(cuMemAlloc)(&buffer, 32 << 20), CUDA_ERROR_OUT_OF_MEMORY);
}

TEST(the_stream_names_its_contexts) {
  const auto world = World::instant();
  const auto green = make_green(0, 4);
  CUcontext context = nullptr;
  CUgreenCtx found = nullptr;
  OK(CU(cuStreamGetCtx_v2)(make_green_stream(green), &context, &found));
  CHECK(context == world.context);
  CHECK(found == green);
  OK(CU(cuStreamGetCtx_v2)(make_stream(), &context, &found));
  CHECK(context == world.context);
  CHECK(found == nullptr);
}

int main(int argc, char** argv) { return run_all(argc, argv); }
