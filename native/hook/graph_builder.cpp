#include "hook/graph_builder.hpp"

#include <pthread.h>

#include <csignal>
#include <cstdlib>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {

GraphBuilder& GraphBuilder::self() {
  static auto* builder = new GraphBuilder;
  return *builder;
}

void GraphBuilder::order(Order order) {
  const std::lock_guard lock(mutex_);
  if (stopped_) return;
  if (!started_) {
    started_ = true;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this] { run(); }).detach();
      // Registered after the driver's own: it is called before the driver ends.
      std::atexit([] {
        GraphBuilder& builder = self();
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
  orders_.push_back(std::move(order));
  changed_.notify_all();
}

void GraphBuilder::run() {
  pthread_setname_np(pthread_self(), "fico-builder");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !orders_.empty(); });
    const Order order = std::move(orders_.front());
    orders_.pop_front();
    if (stopped_) continue;
    busy_ = true;
    lock.unlock();
    if (const auto graph = order.graph.lock(); graph != nullptr) build(*graph, order);
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

void GraphBuilder::build(GraphCopies& graph, const Order& order) {
  std::uint32_t works = 1;
  if (order.works) {
    const std::lock_guard lock(graph.build_mutex_);
    works = graph.pieces_ != nullptr
                ? static_cast<std::uint32_t>(graph.pieces_->plan()->work.size())
                : 0;
  }
  for (std::uint32_t work = 0; work < works; ++work) {
    {
      const std::lock_guard lock(mutex_);
      if (stopped_) return;
    }
    graph.build(order.works ? work : GraphCopies::kWhole, order.place);
  }
  const std::lock_guard lock(graph.instances_mutex_);
  graph.ordered_.erase({GraphCopies::spot_of(order.place), order.works});
}

}  // namespace fico::hook
