// A set of SMs of one GPU.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace fico::device {

inline constexpr unsigned kSmCount = 132;

/// Trivially copyable, so that it can lie in shared memory. Bits at and above kSmCount stay zero.
struct SmSet {
  std::array<std::uint64_t, 3> words{};

  /// The SMs [lo, hi); what lies beyond kSmCount is ignored.
  static constexpr SmSet range(unsigned lo, unsigned hi) {
    SmSet set;
    for (unsigned sm = lo; sm < hi && sm < kSmCount; ++sm) set.add(sm);
    return set;
  }
  static constexpr SmSet all() { return range(0, kSmCount); }

  constexpr void add(unsigned sm) { words[sm / 64] |= std::uint64_t{1} << (sm % 64); }
  constexpr bool contains(unsigned sm) const { return ((words[sm / 64] >> (sm % 64)) & 1U) != 0; }
  constexpr unsigned count() const {
    unsigned total = 0;
    for (auto word : words) total += static_cast<unsigned>(std::popcount(word));
    return total;
  }
  /// The `wanted` lowest SMs of this set that come after skipping the `skipped` lowest ones.
  constexpr SmSet slice(unsigned skipped, unsigned wanted) const {
    SmSet set;
    for (unsigned sm = 0, rank = 0; sm < kSmCount; ++sm) {
      if (!contains(sm)) continue;
      if (rank >= skipped && rank - skipped < wanted) set.add(sm);
      ++rank;
    }
    return set;
  }
  constexpr SmSet& operator|=(const SmSet& other) {
    for (unsigned i = 0; i < words.size(); ++i) words[i] |= other.words[i];
    return *this;
  }
  constexpr bool intersects(const SmSet& other) const {
    for (unsigned i = 0; i < words.size(); ++i) {
      if (words[i] & other.words[i]) return true;
    }
    return false;
  }
  friend constexpr bool operator==(const SmSet&, const SmSet&) = default;
};

}  // namespace fico::device
