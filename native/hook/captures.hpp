// Which streams of the program record, and with which events: what is captured stays at home.
#pragma once

#include <cuda.h>

#include <atomic>
#include <mutex>
#include <vector>

namespace fico::hook {

class Captures {
 public:
  // One a process, never destroyed.
  static Captures& self();

  // The launch path looks closer only while there are some.
  bool are_under_way() const { return under_way_.load(std::memory_order_acquire) > 0; }
  // Whether the stream records; false if the driver can't tell.
  static bool is_capturing(CUstream handle, bool per_thread);

  void begin() { under_way_.fetch_add(1, std::memory_order_acq_rel); }
  void ended();

  // Events recorded in capturing streams, kept while captures are under way.
  void note_event(CUevent event, bool captured);
  bool has_event(CUevent event);

 private:
  std::atomic<int> under_way_{0};
  std::mutex mutex_;
  std::vector<CUevent> events_;
};

}  // namespace fico::hook
