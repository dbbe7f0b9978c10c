// One operation on its way through the device.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "emulator/trace_record.hpp"
#include "emulator/work.hpp"

namespace fico::emulator {

class Op;

/// Shared ownership of an Op; the count lies in the Op.
class OpRef {
 public:
  OpRef() = default;
  explicit OpRef(Op* op);
  OpRef(const OpRef& other);
  OpRef(OpRef&& other) noexcept : op_(std::exchange(other.op_, nullptr)) {}
  OpRef& operator=(OpRef other) noexcept {
    std::swap(op_, other.op_);
    return *this;
  }
  ~OpRef() { reset(); }

  void reset();
  Op* get() const { return op_; }
  Op* operator->() const { return op_; }
  explicit operator bool() const { return op_ != nullptr; }

 private:
  Op* op_ = nullptr;
};

/// Made by a caller of the API, who fills `work` and `after` and submits it; from then on the
/// executor thread owns all but `references`, `done` and `done_us`.
class Op {
 public:
  explicit Op(Work w) : work(std::move(w)) {}

  bool is_done() const { return done.load(std::memory_order_acquire) != 0; }
  /// Lets this start only when `other` is done.
  void depend_on(const OpRef& other) {
    if (other && !other->is_done()) after.push_back(other);
  }

  Work work;
  std::vector<OpRef> after;
  /// Asks the executor to hurry the operations in `after` along; it does nothing itself.
  bool is_demand = false;
  /// Where what is run is recorded (trace.hpp): all but the times.
  std::unique_ptr<TraceRecord> record;

  std::atomic<std::uint32_t> done{0};
  /// Emulated time; to be read when done.
  double done_us = 0;

  // The executor's part.
  enum class Phase : std::uint8_t { kBlocked, kHeldBack, kRunning };
  Phase phase = Phase::kBlocked;
  double start_us = 0;  // emulated; set when it starts
  bool demanded = false;
  std::uint32_t pending = 0;  // operations in `after` that are not done
  std::uint64_t ticket = 0;   // of its valid entry in the agenda
  std::vector<Op*> dependents;
  KernelRun run;
  std::vector<std::byte> staged;  // what a copy has read
  Op* next_submitted = nullptr;
  OpRef executor_reference;  // keeps the operation while it is in flight

 private:
  friend class OpRef;
  std::atomic<std::uint32_t> references_{0};
};

inline OpRef::OpRef(Op* op) : op_(op) {
  if (op_) op_->references_.fetch_add(1, std::memory_order_relaxed);
}
inline OpRef::OpRef(const OpRef& other) : OpRef(other.op_) {}
inline void OpRef::reset() {
  if (op_ && op_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete op_;
  op_ = nullptr;
}

/// What the work reads and what it writes, at its start and at its end. False from begin_effects
/// where the device touches memory that it cannot reach.
bool begin_effects(Op& op);
void finish_effects(Op& op);
/// Emulated µs of a copy or a memset; kernels are the model's.
double transfer_us(const Work& work);
bool wait_is_over(const ValueWait& wait);

}  // namespace fico::emulator
