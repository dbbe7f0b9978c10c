#include "emulator/host_calls.hpp"

#include "emulator/executor.hpp"
#include "emulator/quiet_thread.hpp"

namespace fico::emulator {
namespace {

thread_local bool t_inside_host_call = false;

}  // namespace

bool inside_host_call() { return t_inside_host_call; }

void HostCalls::push(Op* op) {
  const std::lock_guard lock(mutex_);
  if (!started_) {
    start_quiet_thread([](void* self) { static_cast<HostCalls*>(self)->run(); }, this);
    started_ = true;
  }
  queue_.push_back(op);
  filled_.notify_one();
}

void HostCalls::run() {
  while (true) {
    Op* op = nullptr;
    {
      std::unique_lock lock(mutex_);
      filled_.wait(lock, [&] { return !queue_.empty(); });
      op = queue_.front();
      queue_.pop_front();
    }
    const auto& call = std::get<HostCall>(op->work);
    t_inside_host_call = true;
    if (call.callback) {
      call.callback(call.stream, executor_.fault(), call.user_data);
    } else {
      call.function(call.user_data);
    }
    t_inside_host_call = false;
    executor_.host_call_returned(op);
  }
}

}  // namespace fico::emulator
