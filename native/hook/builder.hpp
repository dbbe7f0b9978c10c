// The thread that makes what launches may do without for a while: instances of graphs, partitions.
// They take a millisecond each, and no launch is to wait for them.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace fico::hook {

// One a process, started with the first order and never destroyed. A forked child has none, and
// orders nothing.
class Builder {
 public:
  static Builder& self();

  // The job must not throw, and finds out by itself whether it is still wanted.
  void order(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;  // taken last of all
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool started_ = false;
  pid_t owner_ = 0;
  bool busy_ = false;
  bool stopped_ = false;  // the process exits: the driver must not be called any more
};

}  // namespace fico::hook
