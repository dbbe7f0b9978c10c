#include "arena/claims.hpp"

namespace fico::arena {
namespace {

bool has_ended(const Arena& arena, Holder holder) {
  const std::uint32_t slot = (holder >> 24U) - 1;
  if (slot >= kMaxTenants) return true;  // no holder of ours: damage, so free
  const Tenant& tenant = arena.tenant(slot);
  return tenant.phase.load(std::memory_order_acquire) != Phase::kLive ||
         make_holder(slot, tenant.generation.load(std::memory_order_acquire)) != holder;
}

}  // namespace

UnitSet claim_units(const Arena& arena, Holder holder, UnitSet wanted) {
  UnitSet held = 0;
  for (std::uint32_t unit = 0; unit < arena.layout().unit_count; ++unit) {
    const UnitSet bit = UnitSet{1} << unit;
    if ((wanted & bit) == 0) continue;
    std::atomic<Holder>& word = arena.layout().holders[unit];
    Holder present = word.load(std::memory_order_acquire);
    if (present != holder && (present == 0 || has_ended(arena, present)) &&
        word.compare_exchange_strong(present, holder, std::memory_order_acq_rel)) {
      present = holder;
    }
    if (present == holder) held |= bit;
  }
  return held;
}

void release_units(const Arena& arena, Holder holder, UnitSet units) {
  for (std::uint32_t unit = 0; unit < arena.layout().unit_count; ++unit) {
    if ((units & (UnitSet{1} << unit)) == 0) continue;
    Holder expected = holder;
    arena.layout().holders[unit].compare_exchange_strong(expected, 0, std::memory_order_acq_rel);
  }
}

UnitSet units_of(const Arena& arena, Holder holder) {
  UnitSet held = 0;
  for (std::uint32_t unit = 0; unit < arena.layout().unit_count; ++unit) {
    if (arena.layout().holders[unit].load(std::memory_order_acquire) == holder) {
      held |= UnitSet{1} << unit;
    }
  }
  return held;
}

}  // namespace fico::arena
