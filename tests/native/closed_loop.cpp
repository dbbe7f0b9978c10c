// Runs requests of several tenants in a closed loop over the device model;
// benchmarks/calibrate_model.py drives it. The input, words on stdin:
//
//   settings STAGGER DRAIN OVERLAP SHARED_GAP_US COMPUTE MEMORY L2
//   trace NAME KERNELS, then for each: GAP_US BLOCKS BLOCKS_PER_SM 16×DURATION_US
//                                      3×SENSITIVITY 3×PRESSURE 4×FOOTPRINT
//   run REQUESTS TENANTS, then for each: TRACE LO HI PRIORITY
//
// For each run a line on stdout: the mean latency of each tenant in µs, once all have completed
// so many requests, then the kernels that were run and the seconds that took.
#include <chrono>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "gpu_world.hpp"

using namespace fico::check;

namespace {

struct Tenant {
  const std::vector<Kernel>* trace;
  Units units;
  int priority;
  std::size_t position = 0;
  double ready_us = 0;  // when its next kernel starts; infinite while one runs
  double asked_us = 0;
  int requests = 0;
  double measured_us = 0;
};

// Requests start up to this late, so that no two tenants stay in step by chance.
constexpr double kJitterUs = 5;

void run(std::vector<Tenant> tenants, int requests, const Settings& settings) {
  Gpu gpu(h200_units(), settings);
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed)
  std::vector<Completion> ended;
  std::vector<std::size_t> tenant_of(tenants.size() + 1);
  std::size_t kernels = 0;
  const auto began = std::chrono::steady_clock::now();
  const auto needed = [&](const Tenant& tenant) { return tenant.requests <= requests; };
  for (auto& tenant : tenants) tenant.ready_us = (*tenant.trace)[0].gap_us;
  while (std::ranges::any_of(tenants, needed)) {
    double now = gpu.next_us();
    for (const auto& tenant : tenants) now = std::min(now, tenant.ready_us);
    ended.clear();
    gpu.advance(now, ended);
    for (const auto& one : ended) {
      auto& tenant = tenants[tenant_of[one.id]];
      if (++tenant.position == tenant.trace->size()) {
        // The first request warms up.
        if (tenant.requests++) tenant.measured_us += now - tenant.asked_us;
        tenant.position = 0;
        tenant.asked_us = now + kJitterUs * double(random()) / 0x1p32;
        tenant.ready_us = tenant.asked_us;
      } else {
        tenant.ready_us = now;
      }
      tenant.ready_us += double{(*tenant.trace)[tenant.position].gap_us};
      if (tenants.size() > 1) tenant.ready_us += settings.shared_gap_us;
    }
    for (std::size_t i = 0; i < tenants.size(); ++i) {
      auto& tenant = tenants[i];
      if (tenant.ready_us > now) continue;
      const auto id = gpu.start(now, (*tenant.trace)[tenant.position], tenant.units,
                                tenant.priority, static_cast<std::uint32_t>(i));
      tenant_of[id] = i;
      tenant.ready_us = HUGE_VAL;
      ++kernels;
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  for (const auto& tenant : tenants) {
    std::cout << tenant.measured_us / (tenant.requests - 1) << ' ';
  }
  std::cout << kernels << ' ' << took.count() << '\n';
}

Kernel read_kernel() {
  Kernel kernel{};
  std::cin >> kernel.gap_us >> kernel.blocks >> kernel.blocks_per_sm;
  for (std::uint32_t n = 0; n < kUnits; ++n) std::cin >> kernel.duration_us[n];
  for (auto& value : kernel.sensitivity) std::cin >> value;
  for (auto& value : kernel.pressure) std::cin >> value;
  for (auto& value : kernel.footprint) std::cin >> value;
  return kernel;
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  Settings settings;
  std::map<std::string, std::vector<Kernel>> traces;
  for (std::string word; std::cin >> word;) {
    if (word == "settings") {
      std::cin >> settings.stagger >> settings.drain >> settings.overlap >> settings.shared_gap_us;
      for (auto& weight : settings.interference) std::cin >> weight;
    } else if (word == "trace") {
      std::string name;
      std::size_t kernels = 0;
      std::cin >> name >> kernels;
      auto& trace = traces[name];
      for (trace.clear(); trace.size() < kernels;) trace.push_back(read_kernel());
    } else {
      int requests = 0;
      std::size_t count = 0;
      std::cin >> requests >> count;
      std::vector<Tenant> tenants;
      while (tenants.size() < count) {
        std::string name;
        Tenant tenant{};
        std::cin >> name >> tenant.units.lo >> tenant.units.hi >> tenant.priority;
        tenant.trace = &traces.at(name);
        tenants.push_back(tenant);
      }
      run(tenants, requests, settings);
    }
  }
}
