// Which streams of the program record, and with which events: what is captured stays at home.
#pragma once

#include <cuda.h>

#include <mutex>
#include <vector>

#include "hook/hot.hpp"

namespace fico::hook {

class Captures {
 public:
  // One a process, never destroyed.
  static Captures& self();

  // The launch path looks closer only while there are some.
  static bool are_under_way() { return hot.captures.load(std::memory_order_acquire) > 0; }
  // Whether the stream records; false if the driver can't tell.
  static bool is_capturing(CUstream handle, bool per_thread);

  static void begin() { hot.captures.fetch_add(1, std::memory_order_acq_rel); }
  void ended();

  // Events recorded in capturing streams, kept while captures are under way.
  void note_event(CUevent event, bool captured);
  bool has_event(CUevent event);

 private:
  std::mutex mutex_;
  std::vector<CUevent> events_;
};

}  // namespace fico::hook
