#include "arena/shares.hpp"

#include <algorithm>

namespace fico::arena {

std::uint64_t reserved_ppm(const std::vector<Quota>& quotas, std::uint32_t unit_count) {
  std::uint64_t sum = 0;
  for (const Quota& quota : quotas) {
    sum += quota.units != 0 ? std::uint64_t{quota.units} * kWhole_ppm / unit_count : quota.ppm;
  }
  return sum;
}

std::vector<std::uint32_t> share_units(const std::vector<Quota>& quotas, std::uint32_t unit_count) {
  const std::size_t count = quotas.size();
  if (reserved_ppm(quotas, unit_count) > kWhole_ppm) return {};

  std::vector<std::uint32_t> units(count, 0);
  std::vector<std::size_t> shares;  // tenants with a percentage
  std::vector<std::size_t> rest;    // tenants without a quota
  std::uint32_t taken = 0;
  std::uint64_t share_sum = 0;  // in millionths of a unit
  for (std::size_t i = 0; i < count; ++i) {
    if (quotas[i].units != 0) {
      units[i] = quotas[i].units;
      taken += units[i];
    } else if (quotas[i].ppm != 0) {
      const std::uint64_t ideal = std::uint64_t{quotas[i].ppm} * unit_count;
      units[i] = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(ideal / kWhole_ppm));
      share_sum += ideal;
      shares.push_back(i);
    } else {
      rest.push_back(i);
    }
  }
  if (taken + shares.size() + rest.size() > unit_count) return {};

  const auto available = static_cast<std::uint32_t>(unit_count - taken - rest.size());
  const auto rounded = static_cast<std::uint32_t>((share_sum + kWhole_ppm / 2) / kWhole_ppm);
  const auto goal = std::clamp<std::uint32_t>(rounded, shares.size(), available);
  std::uint32_t given = 0;
  for (const std::size_t i : shares) given += units[i];
  // How far a tenant is below its exact share, in millionths of a unit.
  const auto missing = [&](std::size_t i) {
    return static_cast<std::int64_t>(std::uint64_t{quotas[i].ppm} * unit_count) -
           static_cast<std::int64_t>(std::uint64_t{units[i]} * kWhole_ppm);
  };
  for (; given < goal; ++given) {
    ++units[*std::ranges::max_element(shares, {}, missing)];
  }
  for (; given > goal; --given) {
    // Only tenants with more than one unit can give one back; there is one, or goal were too small.
    std::size_t from = count;
    for (const std::size_t i : shares) {
      if (units[i] > 1 && (from == count || missing(i) < missing(from))) from = i;
    }
    --units[from];
  }

  const auto left = unit_count - taken - given;
  for (std::size_t k = 0; k < rest.size(); ++k) {
    units[rest[k]] =
        static_cast<std::uint32_t>(left / rest.size() + (k < left % rest.size() ? 1 : 0));
  }
  return units;
}

}  // namespace fico::arena
