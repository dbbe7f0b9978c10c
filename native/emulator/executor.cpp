#include "emulator/executor.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>

#include "emulator/quiet_thread.hpp"
#include "emulator/trace.hpp"

namespace fico::emulator {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// How often the others are looked at although they have published nothing: one may have died.
constexpr double kSweepUs = 10'000;
// Real time between two looks at the values that streams wait for.
constexpr std::int64_t kPollNs = 50'000;
// Looks for submissions before the thread goes to sleep: waking it costs the caller a system call.
constexpr int kSpins = 2000;

// Takes a whole list that was pushed at its head and gives it back in the order of the pushes.
Op* take_in_order(std::atomic<Op*>& head) {
  Op* newest = head.exchange(nullptr, std::memory_order_acquire);
  Op* oldest = nullptr;
  while (newest) {
    Op* next = newest->next_submitted;
    newest->next_submitted = oldest;
    oldest = newest;
    newest = next;
  }
  return oldest;
}

void push(std::atomic<Op*>& head, Op* op) {
  op->next_submitted = head.load(std::memory_order_relaxed);
  while (!head.compare_exchange_weak(op->next_submitted, op)) {
  }
}

}  // namespace

void Executor::submit(const OpRef& op) {
  // The executor's own reference; complete() or accept() drops it.
  op->executor_reference = op;
  if (!started_.load(std::memory_order_acquire)) start_thread();
  push(submitted_, op.get());
  if (sleeping_.load() && sleeping_.exchange(false)) wake_sleeper(shared_state().wake_word());
}

void Executor::host_call_returned(Op* op) {
  push(returned_, op);
  if (sleeping_.load() && sleeping_.exchange(false)) wake_sleeper(shared_state().wake_word());
}

void Executor::wait(const OpRef& op) {
  if (op->is_done()) return;
  if (jittered()) {
    const OpRef hurry(new Op(Marker{}));
    hurry->is_demand = true;
    hurry->depend_on(op);
    submit(hurry);
  }
  while (!op->is_done()) op->done.wait(0, std::memory_order_acquire);
}

void Executor::start_thread() {
  if (started_.exchange(true)) return;
  random_.seed(settings_.seed.value_or(0));
  start_quiet_thread([](void* self) { static_cast<Executor*>(self)->run(); }, this);
}

double Executor::now_us() const {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const double real_us =
      static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
  return real_us / settings_.dilation;
}

void Executor::run() {
  prctl(PR_SET_NAME, "fico-device");
  prctl(PR_SET_TIMERSLACK, 1);
  last_us_ = now_us();
  int idle_rounds = 0;
  while (true) {
    const auto seen = shared_state().wake_word().load();
    const double now = now_us();
    const bool some = take_submissions(now);
    advance(now);
    begin_arrivals(now);
    if (unpublished_) publish();
    idle_rounds = some ? 0 : idle_rounds + 1;
    if (idle_rounds > kSpins || !resident_.empty()) sleep_until_needed(seen);
  }
}

// What was submitted joins its predecessors; what waits for nothing arrives now, which may be later
// than the moment that the kernels have been advanced to. False if there was nothing.
bool Executor::take_submissions(double now) {
  // A look first: an exchange would take the cache line from the callers each time round.
  if (!submitted_.load(std::memory_order_relaxed) && !returned_.load(std::memory_order_relaxed)) {
    return false;
  }
  if ((now - taken_us_) * settings_.dilation < settings_.take_us) return true;
  taken_us_ = now;
  for (Op* op = take_in_order(returned_); op;) {
    Op* next = op->next_submitted;
    arrivals_.push_back(op);
    op = next;
  }
  for (Op* op = take_in_order(submitted_); op;) {
    Op* next = op->next_submitted;
    accept(op);
    op = next;
  }
  return true;
}

void Executor::begin_arrivals(double now) {
  last_us_ = std::max(last_us_, now);
  // By index: what completes here makes others ready, it never makes arrivals.
  for (std::size_t i = 0; i < arrivals_.size(); ++i) {
    Op& op = *arrivals_[i];
    if (op.phase == Op::Phase::kRunning) {
      complete(op, now);
    } else {
      start(op, now);
    }
    start_ready(now);
  }
  arrivals_.clear();
}

void Executor::accept(Op* op) {
  if (op->is_demand) {
    for (const auto& wanted : op->after) demand(*wanted.get());
    const OpRef last = std::move(op->executor_reference);
    return;
  }
  for (const auto& earlier : op->after) {
    if (earlier->is_done()) continue;
    earlier->dependents.push_back(op);
    ++op->pending;
  }
  if (op->pending == 0) arrivals_.push_back(op);
}

// Everything that `op` waits for may go ahead, in any legal order but without further delay.
void Executor::demand(Op& first) {
  std::vector<Op*> stack{&first};
  while (!stack.empty()) {
    Op& op = *stack.back();
    stack.pop_back();
    if (op.demanded || op.is_done()) continue;
    op.demanded = true;
    if (op.ticket) schedule(op, now_us() + random_delay_us(op));
    for (const auto& earlier : op.after) stack.push_back(earlier.get());
  }
}

// Half of the delays are short, some are long: near misses and gross reorderings happen. Demanded
// operations change places too, but nobody waits long for them.
double Executor::random_delay_us(const Op& op) {
  const auto draw = random_();
  const double part = static_cast<double>(draw >> 11U) * 0x1p-53;
  if (op.demanded) return part * 4;
  if (draw % 4 == 0) return 0;
  return draw % 4 == 3 ? part * 2000 : part * 100;
}

void Executor::schedule(Op& op, double at_us) {
  op.ticket = next_ticket_++;
  agenda_.push({at_us, op.ticket, OpRef(&op)});
}

// Everything that falls due until `now` happens at its own time, and what that makes ready starts
// at that time: a chain of kernels takes as long as the model says, however late this thread wakes
// up.
void Executor::advance(double now) {
  if (agenda_.empty() && polled_.empty() && resident_.empty()) {
    last_us_ = now;
    return;
  }
  while (true) {
    look_at_others();
    const double next_us = next_due_us();
    if (next_us > now) break;
    progress_to(std::max(next_us, last_us_));
    start_ready(last_us_);
  }
  progress_to(now);
  start_ready(now);
}

double Executor::next_due_us() {
  while (!agenda_.empty() && agenda_.top().op->ticket != agenda_.top().ticket) agenda_.pop();
  double next_us = agenda_.empty() ? kNever : agenda_.top().at_us;
  return resident_.empty() ? next_us : std::min(next_us, device_.next_us());
}

// Moves the kernels on to `at_us`, at which at most one thing more falls due.
void Executor::progress_to(double at_us) {
  last_us_ = at_us;
  if (!resident_.empty()) device_.advance(at_us, ended_);
  for (const auto id : ended_) {
    const auto k = std::ranges::find(running_, id, &RunningKernel::id) - running_.begin();
    Op* op = resident_[static_cast<std::size_t>(k)];
    resident_.erase(resident_.begin() + k);
    running_.erase(running_.begin() + k);
    unpublished_ = true;
    complete(*op, at_us);
  }
  ended_.clear();
  if (!agenda_.empty() && agenda_.top().at_us <= at_us) {
    const auto due = agenda_.top();
    agenda_.pop();
    if (due.op->ticket == due.ticket) {
      due.op->ticket = 0;
      if (due.op->phase == Op::Phase::kHeldBack) {
        begin(*due.op.get(), at_us);
      } else {
        complete(*due.op.get(), at_us);
      }
    }
  }
  poll_waits(at_us);
  fill_device();
}

void Executor::start_ready(double at_us) {
  while (!ready_.empty()) {
    Op* op = ready_.front();
    ready_.pop_front();
    start(*op, at_us);
  }
}

void Executor::start(Op& op, double at_us) {
  if (jittered()) {
    op.phase = Op::Phase::kHeldBack;
    schedule(op, at_us + random_delay_us(op));
  } else {
    begin(op, at_us);
  }
}

void Executor::begin(Op& op, double at_us) {
  op.phase = Op::Phase::kRunning;
  op.start_us = at_us;
  if (std::holds_alternative<HostCall>(op.work)) return host_calls_.push(&op);
  if (const auto* wait = std::get_if<ValueWait>(&op.work); wait && !wait_is_over(*wait)) {
    return polled_.push_back(&op);
  }
  if (!settings_.instant && std::holds_alternative<Kernel>(op.work)) {
    queued_.push_back(&op);
    return fill_device();
  }
  if (!begin_effects(op)) fault_ = CUDA_ERROR_ILLEGAL_ADDRESS;
  const bool takes_time = std::holds_alternative<Kernel>(op.work) ||
                          std::holds_alternative<Copy>(op.work) ||
                          std::holds_alternative<Memset>(op.work);
  if (jittered() && takes_time) {
    schedule(op, at_us + random_delay_us(op));
  } else if (!settings_.instant && takes_time) {
    schedule(op, at_us + transfer_us(op.work));
  } else {
    complete(op, at_us);
  }
}

// Puts waiting kernels on the device, the most urgent first, while there is a place.
void Executor::fill_device() {
  while (!queued_.empty() && resident_.size() < kMaxResident) {
    const auto urgent = std::ranges::min_element(
        queued_, {}, [](Op* op) { return std::get<Kernel>(op->work).priority; });
    Op* op = *urgent;
    queued_.erase(urgent);
    op->start_us = last_us_;
    if (!begin_effects(*op)) fault_ = CUDA_ERROR_ILLEGAL_ADDRESS;
    const auto& kernel = std::get<Kernel>(op->work);
    const auto id = (static_cast<std::uint64_t>(getpid()) << 40U) | ++kernels_;
    resident_.push_back(op);
    running_.push_back({kernel.sms, kernel.shape(), kernel.priority, last_us_, id});
    if (resident_.size() == 1) look_at_others();
    device_.start(last_us_, running_.back());
    unpublished_ = true;
  }
}

void Executor::complete(Op& op, double at_us) {
  finish_effects(op);
  op.done_us = at_us;
  if (op.record) emit_record(op, at_us);
  for (Op* later : op.dependents) {
    if (--later->pending == 0) make_ready(later);
  }
  op.dependents.clear();
  op.after.clear();
  op.done.store(1, std::memory_order_release);
  op.done.notify_all();
  const OpRef last = std::move(op.executor_reference);
}

void Executor::poll_waits(double at_us) {
  for (std::size_t i = polled_.size(); i-- > 0;) {
    Op* op = polled_[i];
    if (!wait_is_over(std::get<ValueWait>(op->work))) continue;
    polled_.erase(polled_.begin() + static_cast<std::ptrdiff_t>(i));
    complete(*op, at_us);
  }
}

// What the other processes run matters only while this one does.
void Executor::look_at_others() {
  if (settings_.instant || resident_.empty()) return;
  const auto generation = shared_state().generation();
  const bool sweep =
      device_.has_others() && last_us_ - others_read_us_ > kSweepUs / settings_.dilation;
  if (generation == others_generation_ && !sweep) return;
  others_generation_ = generation;
  others_read_us_ = last_us_;
  shared_state().read_others(others_, sweep);
  device_.mirror(last_us_, others_);
}

void Executor::publish() {
  unpublished_ = false;
  if (settings_.instant) return;
  shared_state().publish(running_);
  others_generation_ += 1;  // ours; if another came between, the numbers differ and we look
}

void Executor::sleep_until_needed(std::uint32_t seen) {
  look_at_others();
  double next_us = next_due_us();
  if (device_.has_others() && !resident_.empty()) {
    next_us = std::min(next_us, last_us_ + kSweepUs / settings_.dilation);
  }
  std::int64_t timeout_ns = -1;
  if (next_us < kNever) {
    const double real_us = (next_us - now_us()) * settings_.dilation;
    if (real_us <= 0) return;
    timeout_ns = static_cast<std::int64_t>(std::min(real_us, 1e9) * 1e3) + 1;
  }
  if (!polled_.empty()) timeout_ns = timeout_ns < 0 ? kPollNs : std::min(timeout_ns, kPollNs);
  sleeping_.store(true);
  // Whoever submits after this look sees that we sleep.
  if (!submitted_.load() && !returned_.load())
    sleep_on(shared_state().wake_word(), seen, timeout_ns);
  sleeping_.store(false);
}

}  // namespace fico::emulator
