#include "emulator/cupti/collection.hpp"

#include <sys/prctl.h>

#include <chrono>
#include <cstring>
#include <limits>

#include "emulator/cupti/records.hpp"
#include "emulator/quiet_thread.hpp"

namespace fico::emulator::cupti {
namespace {

// As many records as wake the thread that delivers; some thousand make a buffer of a usual client.
constexpr std::size_t kWakeRecords = 1024;

}  // namespace

Collection& collection() {
  static auto& instance = *new Collection;
  return instance;
}

void Collection::register_callbacks(CUpti_BuffersCallbackRequestFunc request,
                                    CUpti_BuffersCallbackCompleteFunc complete) {
  const std::lock_guard lock(delivery_mutex_);
  if (buffer_) give_back();
  request_ = request;
  complete_ = complete;
  has_callbacks_.store(true, std::memory_order_release);
}

void Collection::set_enabled(const TraceAccess& driver, TraceKind kind, bool enabled) {
  const std::lock_guard lock(state_mutex_);
  if (enabled && !is_started_) {
    driver.set_sink([](const TraceRecord& record) { collection().receive(record); });
    start_worker();
    is_started_ = true;
  }
  const auto bit = 1U << static_cast<unsigned>(kind);
  enabled_ = enabled ? enabled_ | bit : enabled_ & ~bit;
  driver.set_wanted(enabled_);
}

void Collection::reset(const TraceAccess& driver) {
  {
    const std::lock_guard lock(state_mutex_);
    enabled_ = 0;
    driver.set_wanted(0);
  }
  const std::lock_guard lock(delivery_mutex_);
  if (buffer_) give_back();
  const std::lock_guard queue_lock(queue_mutex_);
  queue_.clear();
  request_ = nullptr;
  complete_ = nullptr;
  has_callbacks_.store(false, std::memory_order_release);
}

void Collection::set_period_ms(std::uint32_t period_ms) {
  const std::lock_guard lock(queue_mutex_);
  period_ms_ = period_ms;
  queue_changed_.notify_one();
}

void Collection::receive(const TraceRecord& record) {
  const std::lock_guard lock(queue_mutex_);
  const char* name = record.name ? names_.emplace(record.name).first->c_str() : nullptr;
  queue_.push_back({record, name});
  if (queue_.size() == kWakeRecords && !period_ms_) queue_changed_.notify_one();
}

void Collection::start_worker() {
  start_quiet_thread([](void* self) { static_cast<Collection*>(self)->work(); }, this);
}

void Collection::work() {
  prctl(PR_SET_NAME, "fico-cupti");
  while (true) {
    {
      std::unique_lock lock(queue_mutex_);
      const auto period_ms = period_ms_;
      // A changed period begins anew.
      if (period_ms) {
        queue_changed_.wait_for(lock, std::chrono::milliseconds(period_ms));
      } else {
        queue_changed_.wait(lock, [&] { return queue_.size() >= kWakeRecords || period_ms_; });
      }
    }
    deliver(false);
  }
}

void Collection::deliver(bool with_unfilled_buffer) {
  const std::lock_guard lock(delivery_mutex_);
  {
    const std::lock_guard queue_lock(queue_mutex_);
    taken_.swap(queue_);
  }
  std::uint8_t laid_out[kLargestRecord];
  for (const auto& [record, name] : taken_) {
    const auto bytes = write_record(record, name, laid_out);
    if (!has_room(bytes)) {
      ++dropped_;
      continue;
    }
    std::memcpy(buffer_ + used_bytes_, laid_out, bytes);
    used_bytes_ += bytes;
    if (--records_left_ == 0) give_back();
  }
  taken_.clear();
  if (buffer_ && with_unfilled_buffer) give_back();
}

// True with a buffer that takes so many bytes more; a full one goes back, and a new one is asked
// for.
bool Collection::has_room(std::size_t bytes) {
  if (buffer_ && buffer_bytes_ - used_bytes_ >= bytes) return true;
  if (buffer_) give_back();
  if (!request_) return false;
  std::size_t most_records = 0;
  request_(&buffer_, &buffer_bytes_, &most_records);
  records_left_ = most_records ? most_records : std::numeric_limits<std::size_t>::max();
  if (buffer_ && buffer_bytes_ < bytes) give_back();
  return buffer_ != nullptr;
}

void Collection::give_back() {
  auto* buffer = buffer_;
  buffer_ = nullptr;
  complete_(nullptr, 0, buffer, buffer_bytes_, used_bytes_);
  used_bytes_ = 0;
}

}  // namespace fico::emulator::cupti
