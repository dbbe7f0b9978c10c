// Host functions run on a thread of their own, one after the other as in CUDA, so that one that
// blocks holds up only the work that comes after it in its stream.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>

namespace fico::emulator {

class Executor;
class Op;

class HostCalls {
 public:
  explicit HostCalls(Executor& executor) : executor_(executor) {}
  /// Queues the operation, a HostCall. The thread starts with the first one.
  void push(Op* op);

 private:
  void run();

  Executor& executor_;
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<Op*> queue_;
  bool started_ = false;
};

/// True on a thread that is inside a host function, where CUDA permits no call.
bool inside_host_call();

}  // namespace fico::emulator
