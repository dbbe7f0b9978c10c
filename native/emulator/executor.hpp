// The device itself: one thread per process that runs the operations of all streams.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <queue>
#include <random>
#include <vector>

#include "emulator/device_view.hpp"
#include "emulator/host_calls.hpp"
#include "emulator/op.hpp"
#include "emulator/settings.hpp"
#include "emulator/shared_state.hpp"

namespace fico::emulator {

/// Callers submit operations with their dependencies; the executor runs each when those are done.
/// It knows nothing of streams, so it cannot keep an order that nobody asked for. With a seed it
/// goes further: every start and every end is held back for a random time unless somebody waits
/// for it, so operations without a mandated order really change places and overlap.
///
/// Submitting is lock-free; all else belongs to the thread, which starts with the first submission,
/// blocks all signals and never ends.
class Executor {  // NOLINT(bugprone-random-generator-seed): see random_
 public:
  /// Before the first submission.
  void configure(const Settings& settings) { settings_ = settings; }

  /// Hands an operation over. Callers keep the order of submissions of one stream themselves.
  void submit(const OpRef& op);
  /// Blocks until the operation is done.
  void wait(const OpRef& op);

  /// CUDA_SUCCESS, or the error that all calls return since a kernel has failed.
  CUresult fault() const { return static_cast<CUresult>(fault_.load(std::memory_order_relaxed)); }
  void clear_fault() { fault_ = CUDA_SUCCESS; }

  /// The emulated time; any thread.
  double now_us() const;

  /// A host function has returned; called by the thread that runs them.
  void host_call_returned(Op* op);

 private:
  // Something that falls due: the start of a held-back operation, or the end of a running one.
  struct Due {
    double at_us;
    std::uint64_t ticket;  // an entry whose ticket is not the operation's any more is void
    OpRef op;
    bool operator>(const Due& other) const {
      return at_us != other.at_us ? at_us > other.at_us : ticket > other.ticket;
    }
  };

  void start_thread();
  void run();
  bool jittered() const { return settings_.instant && settings_.seed.has_value(); }

  bool take_submissions(double now);
  void accept(Op* op);
  void demand(Op& op);
  /// Runs everything that is due until `now`.
  void advance(double now);
  void progress_to(double at_us);
  void make_ready(Op* op) { ready_.push_back(op); }
  void begin_arrivals(double now);
  double next_due_us();
  void start_ready(double at_us);
  void start(Op& op, double at_us);
  void begin(Op& op, double at_us);
  void complete(Op& op, double at_us);
  void schedule(Op& op, double at_us);
  void poll_waits(double at_us);
  void fill_device();
  void look_at_others();
  void publish();
  void sleep_until_needed(std::uint32_t seen);
  double random_delay_us(const Op& op);

  Settings settings_;
  std::atomic<Op*> submitted_{nullptr};
  std::atomic<Op*> returned_{nullptr};
  std::atomic<bool> started_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<int> fault_{CUDA_SUCCESS};
  HostCalls host_calls_{*this};

  std::priority_queue<Due, std::vector<Due>, std::greater<>> agenda_;
  std::vector<Op*> arrivals_;  // submitted and free to start, or back from the host
  std::deque<Op*> ready_;
  // Kernels on the device, and what the other processes see of each.
  std::vector<Op*> resident_;
  std::vector<RunningKernel> running_;
  DeviceView device_;
  std::vector<std::uint64_t> ended_;
  std::deque<Op*> queued_;   // kernels that wait for a place
  std::vector<Op*> polled_;  // value waits
  std::vector<RunningKernel> others_;
  std::uint32_t others_generation_ = 0;
  double others_read_us_ = 0;
  double last_us_ = 0;   // how far the kernels have been advanced
  double taken_us_ = 0;  // when submissions were last taken
  bool unpublished_ = false;
  std::uint64_t next_ticket_ = 1;
  std::uint64_t kernels_ = 0;  // put on the device so far
  std::mt19937_64 random_;     // seeded by the thread
};

}  // namespace fico::emulator
