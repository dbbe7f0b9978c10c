#include "sim/simulation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>

#include "device/gpu.hpp"
#include "sched/core.hpp"

namespace fico::sim {
namespace {

constexpr double kNever_us = std::numeric_limits<double>::infinity();
constexpr std::uint32_t kNobody = ~0U;

// What a tenant does next, at its `next_us`.
enum class State {
  kArrival,  // waits for its next request
  kLaunch,   // a kernel becomes ready
  kDevice,   // a kernel runs: nothing until it ends
  kHeld,     // waits for a grant
  kGone,
};

// A kind of request of one tenant as the loop needs it.
struct Kind {
  const profile::Trace* trace;
  const sched::Plan* plan;
  std::vector<double> issue_us;  // of each kernel, from the begin of the request, alone
};

// What is made of a trace of the setup.
struct Known {
  std::shared_ptr<const profile::Trace> trace;  // that, or as it is in a plain process
  sched::Plan plan;
};

struct Running {
  State state = State::kArrival;
  double next_us = kNever_us;
  std::vector<Kind> kinds;
  const Kind* kind = nullptr;
  std::uint64_t arrived = 0;  // requests turned to
  Request request{};
  std::uint32_t kernel = 0;
  sched::Decision piece;
  std::uint32_t piece_end = 0;  // one past the last kernel of the piece
  double issue_base_us = 0;     // eager: kernel k is issued no earlier than this + issue_us[k]
  double last_end_us = 0;       // of its last kernel
  double host_us = 0;           // what the host takes of its request
  double wanted_us = 0;         // when the grant that it waits for was first wanted
  double kernel_start_us = 0;
  double kernel_sms = 0;
  policy::Units last_units;
  std::size_t timeline_row = 0;
  std::uint64_t ended = 0;
};

void check(const Setup& setup) {
  if (setup.tenants.empty() || setup.tenants.size() > policy::kMaxTenants) {
    throw std::invalid_argument("there can be 1 to " + std::to_string(policy::kMaxTenants) +
                                " tenants, not " + std::to_string(setup.tenants.size()));
  }
  const std::size_t units = setup.sms_per_unit.size();
  for (const Tenant& tenant : setup.tenants) {
    if (tenant.traces.empty()) throw std::invalid_argument("a tenant has no trace");
    for (const auto& trace : tenant.traces) {
      if (trace->kernels.empty()) throw std::invalid_argument("a trace has no launches");
      for (const auto& kernel : trace->kernels) {
        if (!(kernel.duration_us[units - 1] > 0)) {
          throw std::invalid_argument("a trace has no durations for " + std::to_string(units) +
                                      " units");
        }
      }
    }
    for (const std::uint32_t kind : tenant.trace_of_request) {
      if (kind >= tenant.traces.size()) throw std::invalid_argument("a request has no trace");
    }
    if (!std::ranges::is_sorted(tenant.arrivals_us)) {
      throw std::invalid_argument("arrivals are not in order of time");
    }
    if (tenant.own.size() == 0 || tenant.own.hi > units) {
      throw std::invalid_argument("a tenant owns no units of the GPU");
    }
  }
}

class Simulation {
 public:
  Simulation(const Setup& setup, const policy::Policy& policy)
      : setup_(setup),
        policy_(policy),
        board_{.unit_count = static_cast<std::uint32_t>(setup.sms_per_unit.size()),
               .sms = {setup.sms_per_unit.data(),
                       static_cast<std::uint32_t>(setup.sms_per_unit.size())},
               .members = {},
               .rows = {}},
        core_(policy, board_),
        gpu_(setup.sms_per_unit, setup.device),
        tenants_(setup.tenants.size()) {
    first_sm_.push_back(0);
    for (const std::uint32_t sms : setup.sms_per_unit) first_sm_.push_back(first_sm_.back() + sms);
    result_.tenants.resize(tenants_.size());
    std::mt19937_64 random(setup.seed);
    for (std::uint32_t slot = 0; slot < tenants_.size(); ++slot) prepare(slot, random);
  }

  Result run() {
    std::vector<device::Completion> ended;
    while (!finished()) {
      const double now_us = std::min({gpu_.next_us(), next_timer_us(), next_change_us()});
      if (now_us > setup_.until_us || now_us == kNever_us) break;
      now_us_ = now_us;
      ended.clear();
      gpu_.advance(now_us, ended);
      for (const auto& completion : ended) kernel_ended(completion.id);
      apply_changes();
      for (std::uint32_t slot = 0; slot < tenants_.size(); ++slot) {
        if (tenants_[slot].next_us <= now_us) timer(slot);
      }
      while (changed_ && ask_for_held()) {
      }
    }
    result_.end_us = now_us_;
    return std::move(result_);
  }

 private:
  void prepare(std::uint32_t slot, std::mt19937_64& random) {
    const Tenant& tenant = setup_.tenants[slot];
    Running& running = tenants_[slot];
    for (const auto& profiled : tenant.traces) {
      auto [found, is_new] = known_.try_emplace(profiled.get());
      if (is_new) {
        found->second.trace = policy_.is_plain() ? without_mps(*profiled) : profiled;
        found->second.plan = sched::plan(*found->second.trace, setup_.cut, board_.unit_count);
      }
      const auto& trace = found->second.trace;
      Kind& kind = running.kinds.emplace_back(Kind{trace.get(), &found->second.plan, {}});
      double at_us = 0;
      for (const auto& kernel : trace->kernels) {
        kind.issue_us.push_back(at_us + kernel.gap_us);
        at_us += static_cast<double>(kernel.gap_us) + kernel.duration_us[board_.unit_count - 1];
      }
    }
    core_.join(slot, tenant.own, tenant.priority);
    if (tenant.closed) {
      // Tenants in closed loop are not in step.
      const double part = static_cast<double>(random() >> 11) * 0x1p-53;
      running.next_us = part * running.kinds[0].plan->work[0].remaining_us[board_.unit_count - 1];
    } else {
      running.next_us = tenant.arrivals_us.empty() ? kNever_us : tenant.arrivals_us[0];
    }
  }

  // The kernels of a plain process, where a profile is of a client of MPS.
  std::shared_ptr<const profile::Trace> without_mps(const profile::Trace& profiled) const {
    constexpr float kLeast = 0.5;  // of a kernel
    auto trace = std::make_shared<profile::Trace>(profiled);
    const auto mps_us = static_cast<float>(setup_.costs.mps_us);
    for (auto& kernel : trace->kernels) {
      for (float& us : kernel.duration_us) us = std::max(us - mps_us, us * kLeast);
    }
    return trace;
  }

  bool finished() const {
    for (std::uint32_t slot = 0; slot < tenants_.size(); ++slot) {
      const Tenant& tenant = setup_.tenants[slot];
      const std::uint64_t wanted = tenant.closed ? tenant.requests : tenant.arrivals_us.size();
      if (tenants_[slot].state != State::kGone && tenants_[slot].ended < wanted) return false;
    }
    return true;
  }

  double next_timer_us() const {
    double next_us = kNever_us;
    for (const Running& running : tenants_) next_us = std::min(next_us, running.next_us);
    return next_us;
  }

  // Deaths and changes of quotas.
  double next_change_us() const {
    double next_us = quota_change_ < setup_.quota_changes.size()
                         ? setup_.quota_changes[quota_change_].time_us
                         : kNever_us;
    for (std::uint32_t slot = 0; slot < tenants_.size(); ++slot) {
      if (tenants_[slot].state != State::kGone &&
          setup_.tenants[slot].dies_us < policy::kForever_us) {
        next_us = std::min(next_us, setup_.tenants[slot].dies_us);
      }
    }
    return std::max(next_us, now_us_);
  }

  void apply_changes() {
    while (quota_change_ < setup_.quota_changes.size() &&
           setup_.quota_changes[quota_change_].time_us <= now_us_) {
      const auto& own = setup_.quota_changes[quota_change_++].own;
      for (std::uint32_t slot = 0; slot < own.size(); ++slot) core_.change_quota(slot, own[slot]);
      changed_ = true;
    }
    for (std::uint32_t slot = 0; slot < tenants_.size(); ++slot) {
      Running& running = tenants_[slot];
      if (running.state == State::kGone || setup_.tenants[slot].dies_us > now_us_) continue;
      core_.leave(slot);
      // What it has on the device runs to its end, and keeps its claim until then.
      if (running.state != State::kDevice) core_.completed(now_us_, slot);
      running.state = State::kGone;
      running.next_us = kNever_us;
      changed_ = true;
    }
  }

  void timer(std::uint32_t slot) {
    switch (tenants_[slot].state) {
      case State::kArrival:
        begin_request(slot);
        break;
      case State::kLaunch:
        start_kernel(slot);
        break;
      case State::kHeld:
        ask(slot);
        break;
      case State::kDevice:
      case State::kGone:
        break;
    }
  }

  void begin_request(std::uint32_t slot) {
    const Tenant& tenant = setup_.tenants[slot];
    Running& running = tenants_[slot];
    const auto& kinds = tenant.trace_of_request;
    running.kind = &running.kinds[kinds.empty() ? 0 : kinds[running.arrived % kinds.size()]];
    const double arrival_us = tenant.closed ? now_us_ : tenant.arrivals_us[running.arrived];
    ++running.arrived;
    running.request = {arrival_us, now_us_, 0};
    running.kernel = 0;
    running.host_us = host_us(now_us_ - running.last_end_us);
    running.issue_base_us = now_us_ + running.host_us;
    running.wanted_us = now_us_;
    core_.begin(now_us_, slot, *running.kind->plan);
    changed_ = true;
    ask(slot);
  }

  // From the begin of a request to its first kernel, after the program has paused for `pause_us`.
  double host_us(double pause_us) const {
    const sim::Costs& costs = setup_.costs;
    return costs.request_us + costs.cold_us * (1 - std::exp(-pause_us / costs.cold_after_us));
  }

  // Whether a grant came of it.
  bool ask(std::uint32_t slot) {
    Running& running = tenants_[slot];
    const bool was_held = running.state == State::kHeld;
    running.piece = core_.want(now_us_, slot);
    const policy::Grant& grant = running.piece.grant;
    TenantResult& result = result_.tenants[slot];
    ++result.decisions;
    if (!grant.run) {
      if (!was_held) ++result.holds;
      running.state = State::kHeld;
      // A policy that gives no time is asked again when something has changed.
      running.next_us = grant.until_us > now_us_ ? grant.until_us : kNever_us;
      if (running.next_us >= policy::kForever_us) running.next_us = kNever_us;
      return false;
    }
    changed_ = true;
    running.piece_end = running.kind->plan->work[running.piece.last - 1].last;
    double from_us = now_us_;
    if (was_held) {
      result.held_us += now_us_ - running.wanted_us;
      from_us += setup_.costs.resume_us;
    }
    // While a request is held, its host's part goes on.
    if (running.kernel == 0)
      from_us = std::max(from_us, running.request.start_us + running.host_us);
    if (running.kind->trace->from_graph && running.kernel > 0 && !policy_.is_plain()) {
      from_us += setup_.costs.boundary_us;
    }
    if (!(grant.units == running.last_units) && running.last_units.size() > 0) {
      from_us += setup_.costs.hop_us;
      ++result.hops;
    }
    running.last_units = grant.units;
    // The program waited in the launch, and goes on from there.
    running.issue_base_us =
        std::max(running.issue_base_us, now_us_ - running.kind->issue_us[running.kernel]);
    if (setup_.with_timeline) {
      running.timeline_row = result_.timeline.size();
      result_.timeline.push_back({slot, running.kernel, running.piece_end, grant.units, grant.level,
                                  grant.exclusive, running.wanted_us, now_us_, -1});
    }
    schedule_kernel(slot, from_us + grant.delay_us);
    return true;
  }

  // The next kernel, whose predecessor has ended or whose piece can go at `from_us`.
  void schedule_kernel(std::uint32_t slot, double from_us) {
    Running& running = tenants_[slot];
    running.state = State::kLaunch;  // its own kernel is not one that runs
    const Kind& kind = *running.kind;
    const double gap_us = kind.trace->kernels[running.kernel].gap_us + shared_gap_us(slot);
    if (kind.trace->from_graph) {
      running.next_us = from_us + gap_us;
    } else {
      const double in_time_us = from_us + std::min(gap_us, setup_.costs.stream_gap_us);
      running.next_us = std::max(in_time_us, running.issue_base_us + kind.issue_us[running.kernel]);
    }
  }

  // What kernels of others add to the gap before the tenant's next one.
  double shared_gap_us(std::uint32_t slot) const {
    if (on_device_ == 0) return 0;
    const Running& own = tenants_[slot];
    const policy::Grant& grant = own.piece.grant;
    // A kernel that was there before its last one has had its turn.
    const auto goes_first = [&](const Running& other) {
      const policy::Grant& theirs = other.piece.grant;
      return other.state == State::kDevice && other.kernel_start_us >= own.kernel_start_us &&
             theirs.level <= grant.level && theirs.units.overlaps(grant.units);
    };
    const auto turns = static_cast<double>(std::ranges::count_if(tenants_, goes_first));
    return setup_.costs.shared_gap_us + turns * setup_.costs.turn_us;
  }

  void start_kernel(std::uint32_t slot) {
    Running& running = tenants_[slot];
    const policy::Grant& grant = running.piece.grant;
    const auto& kernel = running.kind->trace->kernels[running.kernel];
    const std::uint32_t id =
        gpu_.start(now_us_, kernel, {grant.units.lo, grant.units.hi}, grant.level, slot);
    if (id >= tenant_of_.size()) tenant_of_.resize(id + 1, kNobody);
    tenant_of_[id] = slot;
    ++on_device_;
    running.state = State::kDevice;
    running.next_us = kNever_us;
    running.kernel_start_us = now_us_;
    const double fillable =
        static_cast<double>(kernel.blocks + kernel.blocks_per_sm - 1) / kernel.blocks_per_sm;
    running.kernel_sms = std::min<double>(first_sm_[grant.units.hi] - first_sm_[grant.units.lo],
                                          std::max(1.0, fillable));
  }

  void kernel_ended(std::uint32_t id) {
    const std::uint32_t slot = std::exchange(tenant_of_[id], kNobody);
    --on_device_;
    Running& running = tenants_[slot];
    TenantResult& result = result_.tenants[slot];
    result.sm_time_us += running.kernel_sms * (now_us_ - running.kernel_start_us);
    if (running.state == State::kGone) {
      core_.completed(now_us_, slot);
      changed_ = true;
      return;
    }
    running.last_end_us = now_us_;
    ++running.kernel;
    if (running.kernel < running.piece_end) {
      schedule_kernel(slot, now_us_);
      return;
    }
    core_.completed(now_us_, slot);
    changed_ = true;
    running.wanted_us = now_us_;
    if (setup_.with_timeline) result_.timeline[running.timeline_row].ended_us = now_us_;
    if (running.kernel < running.kind->trace->kernels.size()) {
      ask(slot);
    } else {
      end_request(slot);
    }
  }

  void end_request(std::uint32_t slot) {
    const Tenant& tenant = setup_.tenants[slot];
    Running& running = tenants_[slot];
    core_.end(now_us_, slot);
    running.request.end_us = now_us_;
    result_.tenants[slot].requests.push_back(running.request);
    ++running.ended;
    running.state = State::kArrival;
    if (tenant.closed) {
      running.next_us = now_us_;
    } else {
      running.next_us = running.arrived < tenant.arrivals_us.size()
                            ? std::max(now_us_, tenant.arrivals_us[running.arrived])
                            : kNever_us;
    }
  }

  // Asks for the tenants that are held, the longest first, until one gets a grant.
  bool ask_for_held() {
    changed_ = false;
    std::uint32_t order[policy::kMaxTenants];
    std::uint32_t held = 0;
    for (std::uint32_t slot = 0; slot < tenants_.size(); ++slot) {
      if (tenants_[slot].state == State::kHeld) order[held++] = slot;
    }
    std::sort(order, order + held, [this](std::uint32_t left, std::uint32_t right) {
      return std::pair(tenants_[left].wanted_us, left) <
             std::pair(tenants_[right].wanted_us, right);
    });
    for (std::uint32_t i = 0; i < held; ++i) {
      if (ask(order[i])) return true;
    }
    return false;
  }

  const Setup& setup_;
  const policy::Policy& policy_;
  sched::Board board_;
  sched::Core core_;
  device::Gpu gpu_;
  std::vector<Running> tenants_;
  std::map<const profile::Trace*, Known> known_;
  std::vector<std::uint32_t> first_sm_;
  std::vector<std::uint32_t> tenant_of_;  // by the device's id of a kernel
  std::size_t quota_change_ = 0;
  double now_us_ = 0;
  std::uint32_t on_device_ = 0;  // kernels; none of a tenant that schedules one
  bool changed_ = false;         // a row has changed since tenants that are held were asked
  Result result_;
};

}  // namespace

Result simulate(const Setup& setup, const policy::Policy& policy) {
  check(setup);
  return Simulation(setup, policy).run();
}

}  // namespace fico::sim
