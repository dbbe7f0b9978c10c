// Which tenant works on which unit at present. Lock-free: a claim is one compare-and-swap, so a
// process may be killed between any two instructions and leaves words that others can judge.
#pragma once

#include <cstdint>

#include "arena/arena.hpp"

namespace fico::arena {

// A set of units, bit u for unit u.
using UnitSet = std::uint64_t;

constexpr UnitSet units_between(std::uint32_t lo, std::uint32_t hi) {
  const UnitSet below_hi = hi >= 64 ? ~UnitSet{0} : (UnitSet{1} << hi) - 1;
  return below_hi & ~((UnitSet{1} << lo) - 1);
}

// Claims those of `wanted` that nobody, or a tenant that has ended, holds; returns all of `wanted`
// that `holder` now has, those it had before included.
UnitSet claim_units(const Arena& arena, Holder holder, UnitSet wanted);

// Gives back those of `units` that `holder` has.
void release_units(const Arena& arena, Holder holder, UnitSet units);

// The units that `holder` has.
UnitSet units_of(const Arena& arena, Holder holder);

}  // namespace fico::arena
