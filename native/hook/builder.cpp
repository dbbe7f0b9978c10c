#include "hook/builder.hpp"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>

#include "base/log.hpp"

namespace fico::hook {

Builder& Builder::self() {
  static auto* builder = new Builder;
  return *builder;
}

void Builder::order(std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  if (!started_) {
    started_ = true;
    owner_ = getpid();
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this] { run(); }).detach();
      // Registered after the driver's own: it is called before the driver ends.
      std::atexit([] {
        Builder& builder = self();
        // A forked child has neither the thread nor, perhaps, a mutex that anyone will unlock.
        if (builder.owner_ != getpid()) return;
        std::unique_lock exit_lock(builder.mutex_);
        builder.stopped_ = true;
        builder.changed_.wait(exit_lock, [&] { return !builder.busy_; });
      });
    } catch (const std::exception& error) {
      base::log_line("no thread to build graphs (%s): they are launched whole, on all units",
                     error.what());
      stopped_ = true;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  jobs_.push_back(std::move(job));
  changed_.notify_all();
}

void Builder::run() {
  pthread_setname_np(pthread_self(), "fico-builder");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !jobs_.empty(); });
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    if (stopped_) continue;
    busy_ = true;
    lock.unlock();
    job();
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace fico::hook
