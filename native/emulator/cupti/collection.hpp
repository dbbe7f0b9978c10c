// The way of the records from the device's thread into the client's buffers.
#pragma once

#include <cupti.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "emulator/trace_record.hpp"

namespace fico::emulator::cupti {

/// The device's thread leaves each record in a queue and calls nobody. A thread of its own, or one
/// that flushes, moves them on into buffers of the client and calls the client back, one at a time
/// and with no lock of the driver; a callback may call everything but a flush.
class Collection {
 public:
  void register_callbacks(CUpti_BuffersCallbackRequestFunc request,
                          CUpti_BuffersCallbackCompleteFunc complete);
  bool has_callbacks() const { return has_callbacks_.load(std::memory_order_acquire); }

  /// Records this kind from now on, or no longer.
  void set_enabled(const TraceAccess& driver, TraceKind kind, bool enabled);
  /// As if the client had never come.
  void reset(const TraceAccess& driver);
  /// All records of work that is known to be done are with the client afterwards.
  void flush() { deliver(true); }
  /// Time between two deliveries of full buffers; 0 delivers by the number of records.
  void set_period_ms(std::uint32_t period_ms);
  /// Records that found no buffer since the last call.
  std::size_t take_dropped() { return dropped_.exchange(0); }

 private:
  struct Queued {
    TraceRecord record;
    const char* name;
  };

  void receive(const TraceRecord& record);
  void start_worker();
  void work();
  void deliver(bool with_unfilled_buffer);
  bool has_room(std::size_t bytes);
  void give_back();

  // The queue, between the device's thread and those that deliver.
  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::vector<Queued> queue_;
  std::unordered_set<std::string> names_;  // never shrinks: records point into it
  std::uint32_t period_ms_ = 0;

  // The client's side.
  std::mutex delivery_mutex_;
  CUpti_BuffersCallbackRequestFunc request_ = nullptr;
  CUpti_BuffersCallbackCompleteFunc complete_ = nullptr;
  std::uint8_t* buffer_ = nullptr;
  std::size_t buffer_bytes_ = 0;
  std::size_t used_bytes_ = 0;
  std::size_t records_left_ = 0;  // that may go into the buffer
  std::vector<Queued> taken_;

  std::mutex state_mutex_;
  std::uint32_t enabled_ = 0;
  bool is_started_ = false;

  std::atomic<bool> has_callbacks_{false};
  std::atomic<std::size_t> dropped_{0};
};

/// The one of the process; never destroyed, as the device's thread outlives static objects.
Collection& collection();

}  // namespace fico::emulator::cupti
