// The thread that builds instances of graphs for places, so that no launch waits for it.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "hook/graph_copies.hpp"

namespace fico::hook {

// One a process, started with the first order and never destroyed. A forked child has none, and
// orders nothing.
class GraphBuilder {
 public:
  static GraphBuilder& self();

  struct Order {
    std::weak_ptr<GraphCopies> graph;
    Place place;
    bool works;  // all works of its plan; else the whole graph
  };
  void order(Order order);

 private:
  void run();
  void build(GraphCopies& graph, const Order& order);

  std::mutex mutex_;  // taken last of all
  std::condition_variable changed_;
  std::deque<Order> orders_;
  bool started_ = false;
  bool busy_ = false;
  bool stopped_ = false;  // the process exits: the driver must not be called any more
};

}  // namespace fico::hook
