// From quotas to units: pure, so that it can be tested by itself.
#pragma once

#include <cstdint>
#include <vector>

namespace fico::arena {

// What a tenant asked for: a share of the units, a number of units, or (both 0) an equal part of
// what the others leave.
struct Quota {
  std::uint32_t ppm = 0;
  std::uint32_t units = 0;
};

constexpr std::uint32_t kWhole_ppm = 1'000'000;

// What the quotas reserve in all, in millionths of the GPU.
std::uint64_t reserved_ppm(const std::vector<Quota>& quotas, std::uint32_t unit_count);

// Units per tenant, in the order given: every tenant gets at least one; shares are rounded by
// largest remainder, so that what adds up to 100% gets all units; tenants without a quota split the
// rest evenly. Empty if it cannot be done (more than 100%, or fewer units left than tenants).
std::vector<std::uint32_t> share_units(const std::vector<Quota>& quotas, std::uint32_t unit_count);

}  // namespace fico::arena
