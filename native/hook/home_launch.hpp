// A launch that stays on the program's own stream, past virtual streams and their locks: nothing
// asks for another place, and no stream of the process is at one. The driver keeps the order of
// what is at home, and a stream that leaves home takes all of that with it (issue.cpp), so nothing
// has to be kept account of.
//
// A stream may be about to leave meanwhile, in another thread. It says so before it looks whether
// such launches are under way, and waits for them; a launch says that it is under way before it
// looks whether streams are away. One of both sees the other.
#pragma once

#include <atomic>

#include "hook/hot.hpp"

namespace fico::hook {

class HomeLaunch {
 public:
  HomeLaunch() { hot.home_launches.fetch_add(1, std::memory_order_seq_cst); }
  ~HomeLaunch() { hot.home_launches.fetch_sub(1, std::memory_order_release); }
  HomeLaunch(const HomeLaunch&) = delete;
  HomeLaunch& operator=(const HomeLaunch&) = delete;

  // Whether it may be made so. False before the program's first context was seen.
  static bool is_allowed() {
    return hot.away.load(std::memory_order_seq_cst) == 0 &&
           hot.has_context.load(std::memory_order_relaxed);
  }
};

}  // namespace fico::hook
