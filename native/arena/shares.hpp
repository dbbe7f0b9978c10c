// From quotas to units: pure, so that it can be tested by itself.
#pragma once

#include <cstdint>
#include <vector>

#include "arena/layout.hpp"

namespace fico::arena {

constexpr std::uint32_t kWhole_ppm = 1'000'000;

// What the quotas reserve in all, in millionths of the GPU.
std::uint64_t reserved_ppm(const std::vector<Quota>& quotas, std::uint32_t unit_count);

// Units per tenant, in the order given: every tenant gets at least one; shares are rounded by
// largest remainder, so that what adds up to 100% gets all units; tenants without a quota split the
// rest evenly. Empty if it cannot be done (more than 100%, or fewer units left than tenants).
std::vector<std::uint32_t> share_units(const std::vector<Quota>& quotas, std::uint32_t unit_count);

}  // namespace fico::arena
