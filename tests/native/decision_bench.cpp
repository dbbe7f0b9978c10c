// Cost of one decision: policy TENANTS ROUNDS. Every tenant has a request; one after another wants
// its next work and completes it. Prints nanoseconds per want() and the allocations meanwhile.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "sched/core.hpp"

namespace {

std::size_t allocations = 0;

constexpr std::uint32_t kUnits = 16;
constexpr std::uint32_t kSegments = 32;

fico::profile::Trace make_trace(std::uint32_t seed) {
  fico::profile::Trace trace;
  trace.kernels.resize(kSegments);
  for (std::uint32_t k = 0; k < kSegments; ++k) {
    fico::profile::Kernel& kernel = trace.kernels[k];
    for (std::uint32_t n = 0; n < kUnits; ++n) {
      kernel.duration_us[n] =
          100.0F + static_cast<float>(seed + k) * 10 / static_cast<float>(n + 1);
    }
    kernel.gap_us = 1;
    kernel.blocks = 264;
    kernel.blocks_per_sm = 2;
    kernel.right_units = 8;
    kernel.kernel_class = static_cast<fico::profile::Class>((seed + k) % 3);
    kernel.bound = static_cast<fico::profile::Bound>((seed + k) % 3);
  }
  return trace;
}

}  // namespace

void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  using Clock = std::chrono::steady_clock;
  const auto policy = fico::policy::make_policy(argv[1], {});
  const auto tenants = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10));
  const auto rounds = std::strtoul(argv[3], nullptr, 10);
  auto board = std::make_unique<fico::sched::Board>();
  board->unit_count = kUnits;
  fico::sched::Core core(*policy, *board);
  std::vector<fico::sched::Plan> plans;
  for (std::uint32_t slot = 0; slot < tenants; ++slot) {
    const auto lo = static_cast<std::uint16_t>(slot * kUnits / tenants);
    const auto hi = static_cast<std::uint16_t>((slot + 1) * kUnits / tenants);
    const auto end = static_cast<std::uint16_t>(hi > lo ? hi : lo + 1);
    core.join(slot, {lo, end}, static_cast<std::int32_t>(slot));
    plans.push_back(fico::sched::plan(make_trace(slot), {}, kUnits));
  }
  std::vector<bool> granted(tenants);
  std::vector<std::uint32_t> done(tenants);
  double now_us = 0;
  for (std::uint32_t slot = 0; slot < tenants; ++slot) core.begin(now_us, slot, plans[slot]);
  double spent_ns = 0;
  std::size_t allocated = 0;
  unsigned long decisions = 0;
  for (unsigned long round = 0; round < rounds; ++round) {
    const auto allocations_before = allocations;
    const auto before = Clock::now();
    // The clock is read once for all tenants: it costs as much as a decision.
    for (std::uint32_t slot = 0; slot < tenants; ++slot) {
      const auto decision = core.want(now_us + slot, slot);
      granted[slot] = decision.grant.run;
      if (decision.grant.run) done[slot] = decision.last;
    }
    spent_ns += std::chrono::duration<double, std::nano>(Clock::now() - before).count();
    allocated += allocations - allocations_before;
    decisions += tenants;
    now_us += 120;
    for (std::uint32_t slot = 0; slot < tenants; ++slot) {
      if (!granted[slot]) continue;
      core.completed(now_us, slot);
      if (done[slot] < plans[slot].work.size()) continue;
      core.end(now_us, slot);
      core.begin(now_us, slot, plans[slot]);
    }
  }
  std::printf("%.1f %zu\n", spent_ns / static_cast<double>(decisions), allocated);
  return 0;
}
