#include "emulator/host_calls.hpp"

#include <pthread.h>

#include <csignal>
#include <system_error>

#include "emulator/executor.hpp"

namespace fico::emulator {
namespace {

thread_local bool t_inside_host_call = false;

struct ThreadStart {
  void (*body)(void*);
  void* argument;
};

void* enter_thread(void* raw) {
  const auto start = *static_cast<ThreadStart*>(raw);
  delete static_cast<ThreadStart*>(raw);
  start.body(start.argument);
  return nullptr;
}

}  // namespace

bool inside_host_call() { return t_inside_host_call; }

void start_quiet_thread(void (*body)(void*), void* argument) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  auto* start = new ThreadStart{body, argument};
  const int error = pthread_create(&thread, nullptr, enter_thread, start);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error) {
    delete start;
    throw std::system_error(error, std::generic_category(), "no thread for the emulated device");
  }
  pthread_detach(thread);
}

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
