// Tenants that share one GPU in virtual time: the scheduler and a policy over the device model.
//
// A tenant serves its requests one after another. The kernels of a graph follow each other after
// their profiled gap; the launches of an eager program come no earlier than the program issues
// them, which it does at its profiled pace and, where it had to wait for a grant, from then on.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "device/settings.hpp"
#include "policy/policy.hpp"
#include "profile/kernel.hpp"
#include "sched/work.hpp"

namespace fico::sim {

// What the mechanism costs, measured on the GPU.
struct Costs {
  double boundary_us = 2;    // between two pieces of one graph
  double hop_us = 0.2;       // to another partition
  double resume_us = 3;      // from the end of a hold to the launch
  double stream_gap_us = 1;  // between kernels of an eager program that has issued them in time
  // From a request's begin to its first kernel and from its last to the program, together: what
  // profiles do not have, since they are measured while each launch is hidden by the one before.
  double request_us = 30;
  // So much more at most after a pause of the program, 63% of it after `cold_after_us`.
  double cold_us = 85;
  double cold_after_us = 45'000;
  // How much longer the gap before a kernel is while kernels of other tenants run, and for each
  // that runs on some of its units and does not come after it by priority.
  double shared_gap_us = device::Settings{}.shared_gap_us;
  double turn_us = device::Settings{}.turn_us;
  // How much shorter a kernel is in a plain process: profiles are of clients of MPS.
  double mps_us = 0.45;
};

struct Tenant {
  std::vector<std::shared_ptr<const profile::Trace>> traces;
  std::vector<std::uint32_t> trace_of_request;  // repeated as often as needed; empty: the first
  policy::Units own;
  std::int32_t priority = 0;
  // In open loop. In closed loop there are none: a request arrives when the one before it ends,
  // and that goes on until every tenant has ended its `requests`.
  std::vector<double> arrivals_us;
  bool closed = false;
  std::uint64_t requests = 0;
  double dies_us = policy::kForever_us;
};

struct QuotaChange {
  double time_us;
  std::vector<policy::Units> own;  // of all tenants
};

struct Setup {
  std::vector<std::uint32_t> sms_per_unit;
  std::vector<Tenant> tenants;
  std::vector<QuotaChange> quota_changes;  // in order of time
  Costs costs;
  device::Settings device;
  sched::Cut cut;
  std::uint64_t seed = 0;  // of when the tenants in closed loop begin
  double until_us = policy::kForever_us;
  bool with_timeline = false;
};

struct Request {
  double arrival_us;
  double start_us;  // when the tenant turned to it
  double end_us;
};

struct TenantResult {
  std::vector<Request> requests;  // ended ones
  double sm_time_us = 0;  // SMs that its kernels could fill of those granted, times duration
  double held_us = 0;
  std::uint64_t holds = 0;
  std::uint64_t decisions = 0;
  std::uint64_t hops = 0;
};

// One granted piece of work.
struct Piece {
  std::uint32_t tenant;
  std::uint32_t first;  // kernels [first, last) of its trace
  std::uint32_t last;
  policy::Units units;
  std::int8_t level;
  bool exclusive;
  double wanted_us;
  double granted_us;
  double ended_us;  // -1: not before the end of the run
};

struct Result {
  std::vector<TenantResult> tenants;
  std::vector<Piece> timeline;
  double end_us = 0;
};

// std::invalid_argument where the setup makes no sense; the text says what.
Result simulate(const Setup& setup, const policy::Policy& policy);

}  // namespace fico::sim
