#include "op_runner_calls.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <string_view>
#include <thread>
#include <unordered_map>

namespace fico::testing {
namespace {

void CUDA_CB run_effect(void* data) { static_cast<const HostEffect*>(data)->run(); }

void CUDA_CB run_callback(CUstream, CUresult, void* data) {
  static_cast<const HostEffect*>(data)->run();
}

bool is_device(const std::string& name) { return name[0] == 'd'; }

}  // namespace

void ThreadRunner::run(const std::vector<Call>& calls) {
  try {
    check(api_->fico_cuCtxSetCurrent(world_.contexts[0].context));
    for (const Call& call : calls) {
      line_ = call.line;
      (this->*find_handler(call.operation))(call);
    }
  } catch (const std::exception& error) {
    error_ = "line " + std::to_string(line_) + ": " + error.what();
  }
}

ThreadRunner::Handler ThreadRunner::find_handler(const std::string& operation) {
  using T = ThreadRunner;
  static const std::unordered_map<std::string_view, Handler> kHandlers = {
      {"context", &T::context},              // INDEX: made current
      {"stream_create", &T::stream_create},  // sN 0|1 (non-blocking) PRIORITY
      {"stream_destroy", &T::stream_destroy},
      {"stream_sync", &T::stream_sync},
      {"stream_query", &T::stream_query},
      {"stream_poll", &T::stream_poll},  // queries until the answer is success
      {"ctx_sync", &T::ctx_sync},
      {"event_create", &T::event_create},
      {"event_destroy", &T::event_destroy},
      {"event_sync", &T::event_sync},
      {"event_query", &T::event_query},
      {"event_poll", &T::event_poll},
      {"record", &T::record},              // eN STREAM
      {"wait", &T::wait},                  // STREAM eN
      {"launch", &T::launch},              // STREAM HOW KERNEL...
      {"copy", &T::copy},                  // ENTRY-VARIANT(legacy|@p) TO FROM
      {"copy_async", &T::copy_async},      // STREAM TO FROM
      {"copy_unified", &T::copy_unified},  // the same with cuMemcpyAsync
      {"memset", &T::memset},              // legacy|@p dN 8|16|32 VALUE
      {"memset_async", &T::memset_async},  // STREAM dN 8|16|32 VALUE
      {"malloc_async", &T::malloc_async},  // STREAM dN
      {"free_async", &T::free_async},
      {"free", &T::free},                    // dN, which malloc_async has made
      {"host_function", &T::host_function},  // STREAM hN SEED
      {"callback", &T::callback},            // the same with cuStreamAddCallback
      {"host_mix", &T::host_mix},            // hN SEED, by the thread itself
      {"write_value", &T::write_value},      // STREAM CONTEXT FLAG VALUE
      {"wait_value", &T::wait_value},        // STREAM CONTEXT FLAG VALUE
      {"post", &T::post},                    // pN
      {"await", &T::await},
      {"fork_child", &T::fork_child},  // none|exit|cuda|end
  };
  const auto found = kHandlers.find(operation);
  return found != kHandlers.end() ? found->second : find_graph_handler(operation);
}

ThreadRunner::StreamRef ThreadRunner::stream_ref(const std::string& name) const {
  const std::size_t at = name.find('@');
  const DriverEntries* api =
      at == std::string::npos ? &world_.driver.legacy : &world_.driver.per_thread;
  const std::string base = name.substr(0, at);
  if (base == "null") return {nullptr, api};
  if (base == "legacy") return {CU_STREAM_LEGACY, api};
  if (base == "pt") return {CU_STREAM_PER_THREAD, api};
  return {world_.streams.at(static_cast<std::size_t>(id_of('s', base))), api};
}

void ThreadRunner::read_kernel(const Call& call, std::size_t first, Kernel& kernel) {
  const std::string& name = call.text(first);
  const ContextSlot& slot = world_.contexts.at(static_cast<std::size_t>(context_));
  kernel.destination = world_.device(call.text(first + 1));
  kernel.words = static_cast<std::uint32_t>(world_.words);
  if (name == "fill" || name == "mix") {
    kernel.function = name == "fill" ? slot.fill : slot.mix;
    kernel.value = call.number(first + 2);
    kernel.params = {&kernel.destination, &kernel.words, &kernel.value};
  } else if (name == "mix2") {
    kernel.function = slot.mix2;
    kernel.source = world_.device(call.text(first + 2));
    kernel.value = call.number(first + 3);
    kernel.params = {&kernel.destination, &kernel.source, &kernel.words, &kernel.value};
  } else if (name == "axpy") {
    kernel.function = slot.axpy;
    kernel.source = world_.device(call.text(first + 2));
    kernel.value = call.number(first + 3);
    kernel.params = {&kernel.destination, &kernel.source, &kernel.words, &kernel.value};
  } else {
    throw ProgramError("no such kernel: " + name);
  }
}

HostEffect* ThreadRunner::read_effect(const Call& call, std::size_t first) {
  return world_.keep({.words = world_.host(call.text(first)),
                      .count = static_cast<std::uint32_t>(world_.words),
                      .seed = call.number(first + 1)});
}

void ThreadRunner::context(const Call& call) {
  context_ = static_cast<int>(call.number(0));
  check(api_->fico_cuCtxSetCurrent(world_.contexts.at(call.number(0)).context));
}

void ThreadRunner::stream_create(const Call& call) {
  CUstream& stream = world_.streams.at(static_cast<std::size_t>(id_of('s', call.text(0))));
  const unsigned flags = call.number(1) != 0 ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT;
  const int priority = -static_cast<int>(call.number(2));
  check(priority == 0 ? api_->fico_cuStreamCreate(&stream, flags)
                      : api_->fico_cuStreamCreateWithPriority(&stream, flags, priority));
}

void ThreadRunner::stream_destroy(const Call& call) {
  CUstream& stream = world_.streams.at(static_cast<std::size_t>(id_of('s', call.text(0))));
  check(api_->fico_cuStreamDestroy(stream));
  stream = nullptr;
}

void ThreadRunner::stream_sync(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  check(at.api->fico_cuStreamSynchronize(at.stream));
}

void ThreadRunner::stream_query(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const CUresult result = at.api->fico_cuStreamQuery(at.stream);
  if (result != CUDA_ERROR_NOT_READY) check(result);
}

void ThreadRunner::stream_poll(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  CUresult result = CUDA_SUCCESS;
  while ((result = at.api->fico_cuStreamQuery(at.stream)) == CUDA_ERROR_NOT_READY)
    std::this_thread::yield();
  check(result);
}

void ThreadRunner::ctx_sync(const Call&) { check(api_->fico_cuCtxSynchronize()); }

void ThreadRunner::event_create(const Call& call) {
  CUevent& event = world_.events.at(static_cast<std::size_t>(id_of('e', call.text(0))));
  check(api_->fico_cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
}

void ThreadRunner::event_destroy(const Call& call) {
  CUevent& event = world_.events.at(static_cast<std::size_t>(id_of('e', call.text(0))));
  check(api_->fico_cuEventDestroy(event));
  event = nullptr;
}

void ThreadRunner::event_sync(const Call& call) {
  const auto id = static_cast<std::size_t>(id_of('e', call.text(0)));
  check(api_->fico_cuEventSynchronize(world_.events.at(id)));
}

void ThreadRunner::event_query(const Call& call) {
  const auto id = static_cast<std::size_t>(id_of('e', call.text(0)));
  const CUresult result = api_->fico_cuEventQuery(world_.events.at(id));
  if (result != CUDA_ERROR_NOT_READY) check(result);
}

void ThreadRunner::event_poll(const Call& call) {
  const auto id = static_cast<std::size_t>(id_of('e', call.text(0)));
  CUresult result = CUDA_SUCCESS;
  while ((result = api_->fico_cuEventQuery(world_.events.at(id))) == CUDA_ERROR_NOT_READY)
    std::this_thread::yield();
  check(result);
}

void ThreadRunner::record(const Call& call) {
  const auto id = static_cast<std::size_t>(id_of('e', call.text(0)));
  const StreamRef at = stream_ref(call.text(1));
  check(at.api->fico_cuEventRecord(world_.events.at(id), at.stream));
}

void ThreadRunner::wait(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const auto id = static_cast<std::size_t>(id_of('e', call.text(1)));
  check(at.api->fico_cuStreamWaitEvent(at.stream, world_.events.at(id), 0));
}

void ThreadRunner::launch(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const std::string& how = call.text(1);
  Kernel kernel;
  read_kernel(call, 2, kernel);
  // The kernels have room for four blocks on each of the 132 SMs.
  const unsigned grid = how == "coop_all" ? 4 * 132 : how == "coop_over" ? 4 * 132 + 1 : 4;
  constexpr unsigned kBlock = 32;
  void** params = kernel.params.data();
  if (how == "plain") {
    check(at.api->fico_cuLaunchKernel(kernel.function, grid, 1, 1, kBlock, 1, 1, 0, at.stream,
                                      params, nullptr));
    return;
  }
  if (how.starts_with("coop") && how != "coop_ex") {
    check(at.api->fico_cuLaunchCooperativeKernel(kernel.function, grid, 1, 1, kBlock, 1, 1, 0,
                                                 at.stream, params));
    return;
  }
  CUlaunchAttribute attribute{};
  if (how == "priority") {
    attribute.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    attribute.value.priority = -2;
  } else if (how == "cluster") {
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = 2;
    attribute.value.clusterDim.y = 1;
    attribute.value.clusterDim.z = 1;
  } else if (how == "coop_ex") {
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = 1;
  } else if (how != "ex") {
    throw ProgramError("no such way to launch: " + how);
  }
  CUlaunchConfig config{};
  config.gridDimX = grid;
  config.gridDimY = config.gridDimZ = 1;
  config.blockDimX = kBlock;
  config.blockDimY = config.blockDimZ = 1;
  config.hStream = at.stream;
  config.attrs = how == "ex" ? nullptr : &attribute;
  config.numAttrs = how == "ex" ? 0 : 1;
  check(at.api->fico_cuLaunchKernelEx(&config, kernel.function, params, nullptr));
}

void ThreadRunner::copy(const Call& call) {
  const DriverEntries& api = call.text(0) == "@p" ? world_.driver.per_thread : world_.driver.legacy;
  const std::string& to = call.text(1);
  const std::string& from = call.text(2);
  if (!is_device(to)) {
    check(api.fico_cuMemcpyDtoH(world_.host(to), world_.device(from), world_.bytes()));
  } else if (!is_device(from)) {
    check(api.fico_cuMemcpyHtoD(world_.device(to), world_.host(from), world_.bytes()));
  } else {
    check(api.fico_cuMemcpyDtoD(world_.device(to), world_.device(from), world_.bytes()));
  }
}

void ThreadRunner::copy_async(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const std::string& to = call.text(1);
  const std::string& from = call.text(2);
  const std::size_t bytes = world_.bytes();
  if (!is_device(to)) {
    check(at.api->fico_cuMemcpyDtoHAsync(world_.host(to), world_.device(from), bytes, at.stream));
  } else if (!is_device(from)) {
    check(at.api->fico_cuMemcpyHtoDAsync(world_.device(to), world_.host(from), bytes, at.stream));
  } else {
    check(at.api->fico_cuMemcpyDtoDAsync(world_.device(to), world_.device(from), bytes, at.stream));
  }
}

void ThreadRunner::copy_unified(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const auto address = [this](const std::string& name) {
    return is_device(name) ? world_.device(name) : reinterpret_cast<CUdeviceptr>(world_.host(name));
  };
  check(at.api->fico_cuMemcpyAsync(address(call.text(1)), address(call.text(2)), world_.bytes(),
                                   at.stream));
}

void ThreadRunner::memset(const Call& call) {
  const DriverEntries& api = call.text(0) == "@p" ? world_.driver.per_thread : world_.driver.legacy;
  const CUdeviceptr to = world_.device(call.text(1));
  const std::uint32_t width = call.number(2);
  const std::uint32_t value = call.number(3);
  const std::size_t count = world_.bytes() / (width / 8);
  if (width == 8) check(api.fico_cuMemsetD8(to, static_cast<unsigned char>(value), count));
  if (width == 16) check(api.fico_cuMemsetD16(to, static_cast<unsigned short>(value), count));
  if (width == 32) check(api.fico_cuMemsetD32(to, value, count));
}

void ThreadRunner::memset_async(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const CUdeviceptr to = world_.device(call.text(1));
  const std::uint32_t width = call.number(2);
  const std::uint32_t value = call.number(3);
  const std::size_t count = world_.bytes() / (width / 8);
  if (width == 8)
    check(at.api->fico_cuMemsetD8Async(to, static_cast<unsigned char>(value), count, at.stream));
  if (width == 16)
    check(at.api->fico_cuMemsetD16Async(to, static_cast<unsigned short>(value), count, at.stream));
  if (width == 32) check(at.api->fico_cuMemsetD32Async(to, value, count, at.stream));
}

void ThreadRunner::malloc_async(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  check(at.api->fico_cuMemAllocAsync(&world_.device(call.text(1)), world_.bytes(), at.stream));
}

void ThreadRunner::free_async(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  check(at.api->fico_cuMemFreeAsync(world_.device(call.text(1)), at.stream));
  world_.device(call.text(1)) = 0;
}

void ThreadRunner::free(const Call& call) {
  check(api_->fico_cuMemFree(world_.device(call.text(0))));
  world_.device(call.text(0)) = 0;
}

void ThreadRunner::host_function(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  check(at.api->fico_cuLaunchHostFunc(at.stream, run_effect, read_effect(call, 1)));
}

void ThreadRunner::callback(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  check(at.api->fico_cuStreamAddCallback(at.stream, run_callback, read_effect(call, 1), 0));
}

void ThreadRunner::host_mix(const Call& call) { read_effect(call, 0)->run(); }

void ThreadRunner::write_value(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const CUdeviceptr flag =
      world_.contexts.at(call.number(1)).flags + sizeof(std::uint32_t) * call.number(2);
  check(at.api->fico_cuStreamWriteValue32(at.stream, flag, call.number(3), 0));
}

void ThreadRunner::wait_value(const Call& call) {
  const StreamRef at = stream_ref(call.text(0));
  const CUdeviceptr flag =
      world_.contexts.at(call.number(1)).flags + sizeof(std::uint32_t) * call.number(2);
  check(
      at.api->fico_cuStreamWaitValue32(at.stream, flag, call.number(3), CU_STREAM_WAIT_VALUE_GEQ));
}

void ThreadRunner::post(const Call& call) {
  std::atomic<bool>& flag = world_.posts.at(static_cast<std::size_t>(id_of('p', call.text(0))));
  flag.store(true);
  flag.notify_all();
}

void ThreadRunner::await(const Call& call) {
  world_.posts.at(static_cast<std::size_t>(id_of('p', call.text(0)))).wait(false);
}

// A child that leaves at once, or by way of its exit handlers, or that first asks the driver to
// start in it (what the driver answers there is part of the results), or that ends what its parent
// has made, as destructors do.
void ThreadRunner::fork_child(const Call& call) {
  const pid_t child = fork();
  if (child == 0) {
    if (call.text(0) == "cuda") _exit(static_cast<int>(api_->fico_cuInit(0)) & 127);
    // ThreadSanitizer's own locks may be held by threads that the child does not have: what is
    // freed on the way out waits for them for ever.
#if !defined(__SANITIZE_THREAD__)
    if (call.text(0) == "exit") std::exit(0);  // NOLINT(concurrency-mt-unsafe): its only thread
#endif
    if (call.text(0) == "end") {
      api_->fico_cuCtxSynchronize();
      api_->fico_cuGraphExecDestroy(world_.execs[0]);
      api_->fico_cuDevicePrimaryCtxRelease(0);
    }
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) throw ProgramError("fork failed");
  if (status != 0) failures_.emplace_back(line_, status);
}

}  // namespace fico::testing
