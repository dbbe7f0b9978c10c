#include "seat/seat.hpp"

#include <algorithm>

#include "base/clock.hpp"
#include "base/process.hpp"

namespace fico::seat {
namespace {

// Stopped tenants' units are to be lent out within 10 ms; who lives beats every 2.
constexpr std::uint64_t kStoppedAfter_ns = 8'000'000;
// A request hangs if it comes no further for so long and so many times what its present work takes
// by the profile: a kernel that does not end, or a program that does something else meanwhile.
constexpr double kHangsAfter_us = 200'000;
constexpr double kHangsAfterWork = 4;

static_assert(sizeof(policy::Row) <= arena::kRowBytes);
static_assert(sizeof(profile::Kernel) <= arena::kFactsBytes);
static_assert(sizeof(policy::Request) <= arena::kFactsBytes);
static_assert(policy::kMaxTenants == arena::kMaxTenants);

}  // namespace

Seat::Seat(const arena::Arena& arena, std::uint32_t slot, std::uint64_t process)
    : arena_(arena),
      slot_(slot),
      generation_(arena.tenant(slot).generation.load(std::memory_order_acquire)),
      process_(process),
      board_{.unit_count = arena.layout().unit_count,
             .sms = {arena.layout().sms_per_unit, arena.layout().unit_count},
             .members = {},
             .rows = {}},
      others_(std::make_unique<Other[]>(policy::kMaxTenants)) {}

bool Seat::is_taken() {
  std::atomic<std::uint64_t>& seat = arena_.tenant(slot_).seat;
  std::uint64_t present = seat.load(std::memory_order_acquire);
  if (present == process_) return true;
  if (present != 0 && base::is_alive(present)) return false;
  return seat.compare_exchange_strong(present, process_);
}

bool Seat::refresh() {
  const arena::Layout& layout = arena_.layout();
  const std::uint32_t epoch = layout.change_ended.load(std::memory_order_acquire);
  if (epoch == epoch_) return scheduled_;
  epoch_ = epoch;
  scheduled_ = false;
  if (!arena_.is_live(slot_, generation_)) return false;
  // First: if it is set once more meanwhile, that is another epoch.
  const std::uint32_t number = layout.schedule_number.load(std::memory_order_acquire);
  if (number != schedule_number_) {
    const Schedule parsed = parse_schedule(arena_.schedule());
    // A request under way goes on by the policy that there was, until it has ended.
    if (mode_of(parsed.name) != arena::Policy::kScheduled) return false;
    auto policy = make_policy(parsed);
    if (core_ == nullptr) {
      core_ = std::make_unique<sched::Core>(*policy, board_);
    } else {
      core_->use(*policy);
    }
    policy_ = std::move(policy);
    pace_ = parsed.pace;
    schedule_number_ = number;
  }
  bool has_company = false;
  for (std::uint32_t slot = 0; slot < policy::kMaxTenants; ++slot) {
    const arena::Tenant& tenant = arena_.tenant(slot);
    const policy::Member& member = board_.members[slot];
    const bool lives = tenant.phase.load(std::memory_order_acquire) == arena::Phase::kLive;
    const std::uint32_t generation = tenant.generation.load(std::memory_order_acquire);
    // This tenant left a moment ago; a request under way still needs its seat in the core.
    if (slot == slot_ && (!lives || generation != generation_)) return false;
    Other& other = others_[slot];
    if (member.present && (!lives || generation != other.generation)) {
      core_->leave(slot);
      board_.rows[slot] = {};  // what its processes had on the device has ended with them
    }
    if (!lives) continue;
    has_company = has_company || slot != slot_;
    const arena::Grant grant = tenant.grant.load(std::memory_order_acquire);
    const policy::Units own{grant.lo, grant.hi};
    if (!member.present) {
      core_->join(slot, own, tenant.priority.load());
      other = {.generation = generation};
    } else {
      core_->change_member(slot, own, tenant.priority.load());
    }
  }
  has_company_ = has_company;
  scheduled_ = true;
  return true;
}

void Seat::look_around(double now_us) {
  const std::uint64_t now_ns = base::monotonic_ns();
  contended_ = false;
  for (std::uint32_t slot = 0; slot < board_.count; ++slot) {
    if (slot == slot_ || !board_.members[slot].present) continue;
    const arena::Tenant& tenant = arena_.tenant(slot);
    Other& other = others_[slot];
    tenant.row.read(other.row, other.row_seen);
    const std::uint64_t beat_ns = tenant.beat_ns.load(std::memory_order_relaxed);
    const bool stopped = now_ns >= beat_ns + kStoppedAfter_ns;
    const bool hangs = now_us > other.row.since_us + kHangsAfter_us +
                                    kHangsAfterWork * static_cast<double>(other.row.in_flight_us);
    if (other.row.phase == policy::Phase::kIdle || stopped || hangs) {
      // When it last ended, and how long its requests are, policies see all the same.
      policy::Row idle = other.row;
      idle.phase = policy::Phase::kIdle;
      if (stopped || !hangs) {
        idle.exclusive = false;
        idle.units = {};
      }
      core_->see(slot, idle, nullptr, nullptr);
      continue;
    }
    contended_ = true;
    tenant.work.read(other.work, other.work_seen);
    tenant.request.read(other.request, other.request_seen);
    core_->see(
        slot, other.row,
        other.work_seen != decltype(tenant.work)::kNoVersion ? &other.work : nullptr,
        other.request_seen != decltype(tenant.request)::kNoVersion ? &other.request : nullptr);
  }
}

double Seat::lead_us() const {
  double lead_us = pace_.lead_us;
  for (std::uint32_t slot = 0; slot < board_.count; ++slot) {
    if (slot == slot_ || !board_.members[slot].present) continue;
    const double request_us = board_.rows[slot].request_us;
    if (request_us > 0) lead_us = std::min(lead_us, request_us * pace_.lead_percent / 100);
  }
  return lead_us;
}

// The slot may be another's, once the tenant has left.
bool Seat::is_ours() const {
  return arena_.tenant(slot_).generation.load(std::memory_order_acquire) == generation_;
}

void Seat::publish(const sched::Plan* plan) {
  if (!is_ours()) return;
  arena::Tenant& tenant = arena_.tenant(slot_);
  const policy::Row& row = board_.rows[slot_];
  const std::uint32_t work = core_->position(slot_);
  if (plan != nullptr && work < plan->work.size()) tenant.work.write(plan->work[work].facts);
  tenant.row.write(row);
  beat();
}

void Seat::beat() {
  arena_.tenant(slot_).beat_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
}

void Seat::begin(double now_us, const sched::Plan& plan) {
  plan_ = &plan;
  look_around(now_us);
  core_->begin(now_us, slot_, plan);
  arena_.tenant(slot_).request.write(plan.request);
  publish(plan_);
  if (is_ours()) arena_.layout().in_request.fetch_or(arena::request_bit(slot_));
}

sched::Decision Seat::want(double now_us) {
  // A program that goes on after what was its last work has a longer request than its profile.
  const auto works = static_cast<std::uint32_t>(plan_->work.size());
  if (core_->position(slot_) >= works) core_->move_to(slot_, works - 1);
  look_around(now_us);
  sched::Decision decision = core_->want(now_us, slot_);
  publish(plan_);
  if (!decision.grant.run || !decision.grant.exclusive) return decision;
  // Another process may have claimed the same units meanwhile. Both have published before either
  // looks again, so at least one of them sees the other, and gives way.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  look_around(now_us);
  const policy::Units claimed = decision.grant.units;
  core_->confirm(now_us, slot_, decision.grant);
  if (!decision.grant.exclusive || claimed != decision.grant.units) publish(plan_);
  return decision;
}

sched::Decision Seat::rest() const {
  return {.grant = {.units = all()},
          .first = core_->position(slot_),
          .last = static_cast<std::uint32_t>(plan_->work.size())};
}

void Seat::advance(double now_us) { core_->advance(now_us, slot_); }

void Seat::end(double now_us) {
  core_->advance(now_us, slot_);
  core_->end(now_us, slot_);
  plan_ = nullptr;
  publish(nullptr);
  if (is_ours()) arena_.layout().in_request.fetch_and(~arena::request_bit(slot_));
}

}  // namespace fico::seat
