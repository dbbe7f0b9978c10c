#pragma once

#include <string>
#include <utility>
#include <vector>

#include "op_runner_world.hpp"

namespace fico::testing {

// Runs the calls of one thread of a program and keeps every result that is not a success. The
// answers of the queries depend on time and are left out.
class ThreadRunner {
 public:
  explicit ThreadRunner(World& world) : world_(world), api_(&world.driver.legacy) {}

  void run(const std::vector<Call>& calls);

  // (line, result of the call)
  const std::vector<std::pair<int, int>>& failures() const { return failures_; }
  // The first fault of the program's text, or nothing.
  const std::string& error() const { return error_; }

 private:
  using Handler = void (ThreadRunner::*)(const Call&);
  struct StreamRef {
    CUstream stream;
    const DriverEntries* api;
  };
  // The parameters of a kernel, kept at a fixed place while the driver reads them.
  struct Kernel {
    CUfunction function = nullptr;
    CUdeviceptr destination = 0;
    CUdeviceptr source = 0;
    std::uint32_t words = 0;
    std::uint32_t value = 0;
    std::array<void*, 4> params{};
  };

  static Handler find_handler(const std::string& operation);
  static Handler find_graph_handler(const std::string& operation);

  void check(CUresult result) {
    if (result != CUDA_SUCCESS) failures_.emplace_back(line_, static_cast<int>(result));
  }
  // null, legacy, pt or sN; with @p, through the entries of the per-thread default stream.
  StreamRef stream_ref(const std::string& name) const;
  // Fills `kernel` from the words `mix d0 7`, `mix2 d0 d1 7`, `axpy d0 d1 3`, `fill d0 9`.
  void read_kernel(const Call& call, std::size_t first, Kernel& kernel);
  HostEffect* read_effect(const Call& call, std::size_t first);

  void context(const Call& call);
  void stream_create(const Call& call);
  void stream_destroy(const Call& call);
  void stream_sync(const Call& call);
  void stream_query(const Call& call);
  void stream_poll(const Call& call);
  void ctx_sync(const Call& call);
  void event_create(const Call& call);
  void event_destroy(const Call& call);
  void event_sync(const Call& call);
  void event_query(const Call& call);
  void event_poll(const Call& call);
  void record(const Call& call);
  void wait(const Call& call);
  void launch(const Call& call);
  void copy(const Call& call);
  void copy_async(const Call& call);
  void copy_unified(const Call& call);
  void memset(const Call& call);
  void memset_async(const Call& call);
  void malloc_async(const Call& call);
  void free_async(const Call& call);
  void free(const Call& call);
  void host_function(const Call& call);
  void callback(const Call& call);
  void host_mix(const Call& call);
  void write_value(const Call& call);
  void wait_value(const Call& call);
  void post(const Call& call);
  void await(const Call& call);
  void fork_child(const Call& call);

  void begin_capture(const Call& call);
  void end_capture(const Call& call);
  void graph_create(const Call& call);
  void graph_destroy(const Call& call);
  void node_kernel(const Call& call);
  void node_memset(const Call& call);
  void node_copy(const Call& call);
  void node_host(const Call& call);
  void node_empty(const Call& call);
  void node_child(const Call& call);
  void instantiate(const Call& call);
  void exec_update(const Call& call);
  void exec_set(const Call& call);
  void exec_child(const Call& call);
  void exec_memset(const Call& call);
  CUDA_MEMSET_NODE_PARAMS read_memset(const Call& call);
  void exec_destroy(const Call& call);
  void graph_upload(const Call& call);
  void graph_launch(const Call& call);

  World& world_;
  const DriverEntries* api_;
  int context_ = 0;
  int line_ = 0;
  std::vector<std::pair<int, int>> failures_;
  std::string error_;
};

}  // namespace fico::testing
