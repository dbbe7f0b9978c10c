// Where in its profiled requests a program is, from nothing but its launches. Deterministic, no
// clock, no allocation after construction; not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "profile/table.hpp"

namespace fico::sched {

class Tracker {
 public:
  // The table must outlive the tracker.
  explicit Tracker(const profile::Table& table);

  struct Step {
    // Of the launch in the table, and of the trace that it is of; nothing: the profile does not
    // know it.
    std::optional<std::uint32_t> launch;
    std::uint32_t trace = 0;
    bool resynced = false;   // something had come that the profile did not expect
    bool completes = false;  // the last launch of a request
  };
  // The program has launched this.
  Step launched(std::uint64_t signature);
  // The program has launched a whole request of a kind (a graph that is known to be one). As if
  // every launch of it had been reported.
  void launched_whole(std::uint32_t trace);

  // The kind of request that has exactly these launches, for a graph. A program may be profiled as
  // graphs and launch by launch as well: then the kind that came as a graph, since the other one's
  // times have the program's pauses in them.
  std::optional<std::uint32_t> trace_of_graph(std::span<const std::uint64_t> signatures) const;

  // Whether the launch that comes next begins a request.
  bool between_requests() const { return expected_ == kNone; }
  std::uint32_t trace_of(std::uint32_t launch) const;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  // As many launches before one tell it from its like.
  static constexpr std::uint32_t kMemory = 16;

  struct Place {
    std::uint64_t signature;
    std::uint32_t launch;
  };

  std::uint32_t best_place(std::uint64_t signature) const;
  std::uint32_t likeness(std::uint32_t launch) const;
  void remember(std::uint64_t signature);
  Step stand_at(std::uint32_t launch, std::uint32_t trace, bool resynced);

  std::span<const profile::TableLaunch> launches_;
  std::span<const profile::TableTrace> traces_;
  std::vector<Place> places_;       // by signature, then by launch
  std::uint32_t expected_ = kNone;  // the launch that should come; kNone: the first of any request
  std::uint32_t trace_ = 0;         // of the last launch that was known
  std::array<std::uint64_t, kMemory> memory_{};  // the last signatures, a ring
  std::uint64_t remembered_ = 0;
};

}  // namespace fico::sched
