// jumble: random units at a random priority for every piece, of random length (testing).
//
// Idea: whatever a policy may ask for comes soon, so that programs show what it breaks. Settings:
// none. Random is the time of the decision, well mixed: it stays a pure function of what it sees.
#pragma once

#include <bit>
#include <cstdint>

#include "policy/policy.hpp"

namespace fico::seat {

class Jumble final : public policy::Policy {
 public:
  policy::Grant decide(const policy::View& view) const noexcept override {
    // The finalizer of MurmurHash3 (Appleby).
    auto mixed = std::bit_cast<std::uint64_t>(view.now_us);
    mixed = (mixed ^ (mixed >> 33U)) * 0xff51'afd7'ed55'8ccdU;
    mixed = (mixed ^ (mixed >> 33U)) * 0xc4ce'b9fe'1a85'ec53U;
    mixed ^= mixed >> 33U;
    const auto lo = static_cast<std::uint16_t>(mixed % view.unit_count);
    const auto size = static_cast<std::uint16_t>(1 + (mixed >> 8U) % (view.unit_count - lo));
    const auto level = static_cast<std::int8_t>(policy::kLevelLast - (mixed >> 24U) % 6);
    const bool whole = (mixed >> 32U) % 8 == 0;
    const double span_us = whole ? policy::kForever_us : static_cast<double>((mixed >> 40U) % 400);
    // The program's own streams.
    if ((mixed >> 52U) % 4 == 0) return {.units = view.all(), .span_us = span_us};
    return {
        .level = level, .units = {lo, static_cast<std::uint16_t>(lo + size)}, .span_us = span_us};
  }
};

}  // namespace fico::seat
