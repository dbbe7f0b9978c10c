#include "hook/pacer.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/process.hpp"
#include "cuda/driver.hpp"
#include "hook/tenant.hpp"
#include "sched/unprofiled.hpp"

namespace fico::hook {
namespace {

const cuda::Driver& d() { return cuda::driver(); }

// Profiles are of a program that is traced and alone: pieces are shorter, or longer beside others.
constexpr double kLearning = 0.1;
constexpr double kLeastRatio = 0.5;
constexpr double kMostRatio = 2;
// Nobody looks while the program waits in the driver: then an end is seen long after it was. Such
// an end says nothing of how long a piece took, nor does the end of what was queued behind it.
constexpr double kSeenWithin_us = 20;

double clock_scale() {
  const char* text = std::getenv("FICO_EMULATED_DILATION");  // NOLINT(concurrency-mt-unsafe)
  const double dilation = text != nullptr ? std::strtod(text, nullptr) : 0;
  return Tenant::self().session().emulated != 0 && dilation > 0 ? dilation : 1;
}

}  // namespace

Pacer& Pacer::self() {
  static auto* pacer = new Pacer;
  return *pacer;
}

Pacer::Pacer() : clock_scale_(Tenant::is_active() ? clock_scale() : 1) {}

bool Pacer::is_on() { return Tenant::grant().mode == arena::Mode::kScheduled; }

std::size_t Pacer::index_of(policy::Units units) {
  return std::clamp(units.size(), 1U, profile::kMaxUnits) - 1;
}

double Pacer::now_us() const {
  return static_cast<double>(base::monotonic_ns()) / 1000 / clock_scale_;
}

// Whether this process decides: it has the seat, and the session is scheduled still.
bool Pacer::is_ready() {
  Tenant& tenant = Tenant::self();
  if (!Tenant::is_active()) return false;
  if (!seat_) {
    // Another process of the tenant may have it, until it ends.
    const std::uint64_t now_ns = base::monotonic_ns();
    if (now_ns < next_try_ns_) return false;
    next_try_ns_ = now_ns + kRetry_ns;
    seat_ = std::make_unique<seat::Seat>(tenant.arena(), tenant.slot(), base::identify(getpid()));
    if (!seat_->is_taken()) {
      seat_.reset();
      return false;
    }
    timeline_.open(clock_scale_);
  }
  return refresh();
}

// Whether the session is scheduled still, with what has changed in it.
bool Pacer::refresh() {
  try {
    return seat_->refresh();
  } catch (const std::exception& error) {
    Tenant::count(Counter::driver_errors, "the session's policy could not be read");
    base::log_line("launches are not scheduled: %s", error.what());
    return false;
  }
}

Target Pacer::fallback() const {
  const arena::Grant grant = Tenant::grant();
  return {.home = false, .lo = grant.lo, .hi = grant.hi, .priority = policy::kLevelLast};
}

Target Pacer::target_of(const policy::Grant& grant) const {
  // The program's own streams do.
  if (grant.units == seat_->all() && grant.level == policy::kLevelLast) return {};
  return {.home = false, .lo = grant.units.lo, .hi = grant.units.hi, .priority = grant.level};
}

// What is granted beside tenants that are idle is granted for a span, and asked for again at each
// mark, where the program waits if it is too far ahead.
bool Pacer::goes_on(const Live::Position& position) const {
  return plan_ == *position.plan && position.launch > first_work_ &&
         plan_->work[position.launch].remaining_us[index_of(seat_->all())] > holds_above_us_ &&
         !may_be_contended();
}

std::int32_t Pacer::span_after(std::uint32_t launch) const {
  if (!last_target_.home) return 0;
  const std::size_t all = index_of(seat_->all());
  const auto first = plan_->work.begin() + launch + 1;
  const double mark_us = plan_->work[since_work_].before_us + kMark_us;
  // The one that makes the mark, or ends the request, has to be seen.
  const auto end = std::partition_point(first, plan_->work.end(), [&](const sched::Work& work) {
    return work.remaining_us[all] > holds_above_us_ &&
           work.before_us + work.facts.duration_us[all] < mark_us;
  });
  return static_cast<std::int32_t>(
      std::max<std::ptrdiff_t>(0, std::min(end, plan_->work.end() - 1) - first));
}

void Pacer::begin(std::shared_ptr<const sched::Plan> plan) {
  if (plan_ != nullptr) finish();
  plan_ = std::move(plan);
  begin_us_ = now_us();
  all_issued_ = false;
  since_work_ = static_cast<std::uint32_t>(plan_->work.size());
  seat_->begin(begin_us_, *plan_);
  alone_ = !seat_->is_contended();
  unbuilt_ = Tenant::counted(Counter::unbuilt_pieces);
  timeline_.began(*plan_, plan_->work.front().remaining_us[index_of(seat_->all())]);
  hot.is_outstanding.store(true, std::memory_order_relaxed);
}

void Pacer::finish() {
  const double now = now_us();
  if (Tenant::counted(Counter::unbuilt_pieces) != unbuilt_) seat_->disregard();
  seat_->end(now);
  if (alone_ && all_issued_ && marks_.empty()) last_alone_us_ = now - begin_us_;
  timeline_.ended(alone_, all_issued_);
  plan_ = nullptr;
  end_span();
  hot.is_outstanding.store(false, std::memory_order_relaxed);
}

// A hold ends when another row changes, which is asked for again and again.
sched::Decision Pacer::decide() {
  const std::uint64_t begin_ns = base::monotonic_ns();
  for (bool held = false;; held = true) {
    const sched::Decision decision = seat_->want(now_us());
    if (decision.grant.run) {
      alone_ = alone_ && !seat_->is_contended();
      if (held) timeline_.was_held(begin_ns, false);
      return decision;
    }
    alone_ = false;
    const bool too_long = base::monotonic_ns() - begin_ns >
                          kLongestWait_ns * static_cast<std::uint64_t>(clock_scale_);
    if (too_long || !refresh()) {
      if (too_long) Tenant::count(Counter::late_pieces);
      timeline_.was_held(begin_ns, true);
      return seat_->rest();
    }
    seat_->beat();
    reap();
    sched_yield();
  }
}

void Pacer::mark(const Issue& issue, std::uint32_t first, std::uint32_t last, double takes_us,
                 double claimed_us) {
  const std::uint32_t piece = timeline_.issued(issue, first, last, takes_us);
  if (issue.context() == nullptr) return;  // no stream of ours: nobody says when it ends
  Mark mark{nullptr, issue.context(), takes_us, now_us(), claimed_us, piece};
  const auto spare = std::ranges::find(spare_, mark.context, &Mark::context);
  if (spare != spare_.end()) {
    mark.event = spare->event;
    spare_.erase(spare);
  } else {
    const cuda::Current current(mark.context);
    const cuda::RelaxedCapture relaxed;
    if (d().event_create(&mark.event, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) {
      Tenant::count(Counter::driver_errors, "the end of a piece could not be recorded");
      return;
    }
  }
  if (d().event_record(mark.event, issue.stream()) != CUDA_SUCCESS) {
    Tenant::count(Counter::driver_errors, "the end of a piece could not be recorded");
    spare_.push_back(mark);
    return;
  }
  marks_.push_back(mark);
}

void Pacer::reap() {
  if (marks_.empty()) return;
  const cuda::Current current(marks_.front().context);  // the keeper has none of its own
  const cuda::RelaxedCapture relaxed;
  while (!marks_.empty() && d().event_query(marks_.front().event) != CUDA_ERROR_NOT_READY) {
    const Mark& ended = marks_.front();
    timeline_.seen(ended.piece);
    const double ended_us = now_us();
    if (ended_us - running_us_ < kSeenWithin_us) learn(ended, ended_us - ended.begins_us);
    running_us_ = 0;
    spare_.push_back(ended);
    marks_.pop_front();
    if (!marks_.empty()) marks_.front().begins_us = ended_us;
  }
  if (marks_.empty()) {
    late_ = false;
  } else {
    running_us_ = now_us();
  }
}

void Pacer::learn(const Mark& ended, double took_us) {
  if (ended.takes_us > 0) {
    const double ratio = std::clamp(took_us / ended.takes_us, kLeastRatio, kMostRatio);
    took_ratio_ += kLearning * (ratio - took_ratio_);
  }
  if (ended.claimed_us > 0) seat_->learn(took_us, ended.claimed_us);
}

template <class HasRoom>
void Pacer::await(HasRoom has_room) {
  const std::uint64_t begin_ns = base::monotonic_ns();
  for (bool waited = false;; waited = true) {
    reap();
    if (late_ || has_room()) {
      if (waited) timeline_.had_no_room(begin_ns);
      return;
    }
    if (base::monotonic_ns() - begin_ns >
        kLongestWait_ns * static_cast<std::uint64_t>(clock_scale_)) {
      Tenant::count(Counter::late_pieces);
      late_ = true;
      timeline_.had_no_room(begin_ns);
      return;
    }
    sched_yield();
  }
}

void Pacer::await_room() {
  await([this] {
    if (marks_.empty()) return true;
    const Mark& front = marks_.front();
    return marks_.size() == 1 &&
           now_us() >= front.begins_us + front.takes_us * took_ratio_ - seat_->lead_us();
  });
}

void Pacer::await_marks(std::size_t most) {
  await([&] { return marks_.size() <= most; });
}

// The mutex, unless a graph is being launched.
std::unique_lock<std::mutex> Pacer::lock_briefly() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  while (!lock.owns_lock() && !in_turn_.load(std::memory_order_relaxed)) {
    sched_yield();
    lock.try_lock();
  }
  return lock;
}

std::optional<Pacer::Turn> Pacer::begin_graph(std::shared_ptr<const sched::Plan> plan) {
  std::unique_lock lock = lock_briefly();
  if (!lock.owns_lock() || !is_ready()) return std::nullopt;
  in_turn_.store(true, std::memory_order_relaxed);
  if (seat_->has_company()) await_room();
  begin(std::move(plan));
  return Turn(*this, std::move(lock));
}

Pacer::Piece Pacer::Turn::next() {
  Pacer& pacer = *pacer_;
  const sched::Decision decision = pacer.decide();
  const auto& works = pacer.plan_->work;
  done_ = decision.last >= works.size();
  const std::size_t units = index_of(decision.grant.units);
  pacer.piece_us_ = works[decision.first].remaining_us[units];
  if (!done_) pacer.piece_us_ -= works[decision.last].remaining_us[units];
  pacer.last_target_ = pacer.target_of(decision.grant);
  pacer.first_work_ = decision.first;
  pacer.end_work_ = decision.last;
  pacer.timeline_.decided(decision, pacer.piece_us_, *pacer.seat_);
  return {decision.first, decision.last, pacer.last_target_};
}

void Pacer::Turn::take_all() {
  done_ = true;
  pacer_->end_work_ = static_cast<std::uint32_t>(pacer_->plan_->work.size());
  const auto& work = pacer_->plan_->work[pacer_->first_work_];
  pacer_->piece_us_ = work.remaining_us[index_of(pacer_->seat_->all())];
}

void Pacer::Turn::issued(const Issue& issue) {
  Pacer& pacer = *pacer_;
  Tenant::count(Counter::pieces);
  // The end of the last one is seen only when the next request begins, perhaps long after.
  const bool tells = !done_ && issue.is_on_partition();
  pacer.mark(issue, pacer.first_work_, pacer.end_work_, pacer.piece_us_,
             tells ? pacer.seat_->claimed_us() : 0);
  if (done_) return;
  if (pacer.seat_->has_company()) pacer.await_room();
  pacer.seat_->advance(pacer.now_us());
}

Pacer::Turn::~Turn() {
  if (!lock_.owns_lock()) return;
  pacer_->all_issued_ = true;
  pacer_->in_turn_.store(false, std::memory_order_relaxed);
}

Target Pacer::before_launch(const std::optional<Live::Position>& position) {
  const std::unique_lock lock = lock_briefly();
  if (!lock.owns_lock() || !is_ready()) {
    Tenant::count(Counter::unscheduled_launches);
    return fallback();
  }
  end_span();
  if (!seat_->has_company()) {
    if (plan_ != nullptr) finish();
    last_target_ = {};
    hot.alone_since.store(seat_->epoch(), std::memory_order_relaxed);
    return {};
  }
  if (position) {
    if (goes_on(*position)) return last_target_;
    if (plan_ != *position->plan || all_issued_ || position->launch == 0) begin(*position->plan);
    since_work_ = std::min(since_work_, position->launch);
    await_room();
    seat_->move_to(position->launch);
  } else if (Live::self() == nullptr) {
    if (plan_ == nullptr) {
      if (unknown_ == nullptr) {
        unknown_ =
            std::make_shared<sched::Plan>(sched::unprofiled_plan(1, 1, 1000, seat_->all().size()));
      }
      begin(unknown_);
    }
    await_marks(kAheadUnknown);
    seat_->move_to(0);
  } else {
    return last_target_;
  }
  const sched::Decision decision = decide();
  last_target_ = target_of(decision.grant);
  first_work_ = decision.first;
  const bool holds = position && !seat_->is_contended() && !decision.grant.exclusive;
  const double left_us = plan_->work[decision.first].remaining_us[index_of(seat_->all())];
  holds_above_us_ = holds ? left_us - decision.grant.span_us : kOneLaunch;
  hot.span_since.store(seat_->epoch(), std::memory_order_relaxed);
  hot.span_launches.store(holds ? span_after(position->launch) : 0, std::memory_order_relaxed);
  if (timeline_.is_on()) {
    const profile::Kernel& kernel = plan_->work[decision.first].facts;
    timeline_.decided(decision, kernel.duration_us[index_of(decision.grant.units)], *seat_);
  }
  return last_target_;
}

void Pacer::launched(const Issue& issue, const std::optional<Live::Position>& position) {
  if (!is_outstanding()) return;
  const std::unique_lock lock = lock_briefly();
  if (!lock.owns_lock() || plan_ == nullptr) return;
  if (position && plan_ != *position->plan) return;  // another thread has begun a request meanwhile
  if (!position) {
    if (Live::self() != nullptr) return;
    // Any launch may be the last one.
    all_issued_ = true;
    mark(issue, 0, 1, 0);
    return;
  }
  const std::uint32_t first = std::min(since_work_, position->launch);
  const sched::Work& work = plan_->work[position->launch];
  const double end_us = work.before_us + work.facts.duration_us[index_of(seat_->all())];
  const double since_mark_us = end_us - plan_->work[first].before_us;
  all_issued_ = position->completes;
  if (since_mark_us < kMark_us && !all_issued_) return;
  Tenant::count(Counter::pieces);
  since_work_ = position->launch + 1;
  mark(issue, first, since_work_, since_mark_us);
  holds_above_us_ = kOneLaunch;
}

void Pacer::poke() {
  // Not in a forked child: the row is its parent's.
  if (!is_outstanding() || !Tenant::is_active()) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || plan_ == nullptr) return;
  reap();
  if (all_issued_ && marks_.empty()) finish();
}

void Pacer::tick() {
  if (!is_outstanding()) return;
  poke();
  // Also while a thread waits in a turn of its own: the row has one writer, the sign of life many.
  Tenant& tenant = Tenant::self();
  tenant.arena()
      .tenant(tenant.slot())
      .beat_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
}

void Pacer::forget() {
  const std::lock_guard lock(mutex_);
  marks_.clear();
  spare_.clear();
  if (plan_ != nullptr) finish();
}

}  // namespace fico::hook
