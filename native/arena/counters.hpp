// Everything a tenant counts, once: the name that people see and what it means.
#pragma once

#include <cstdint>

#include "arena/layout.hpp"

namespace fico::arena {

// X(identifier, is a fall-back, meaning)
#define FICO_COUNTERS(X)                                                                           \
  X(launches, false, "kernel launches seen")                                                       \
  X(graph_launches, false, "CUDA graph launches seen")                                             \
  X(captured_launches, false, "launches recorded into a graph instead of run")                     \
  X(hops, false, "moves of a stream to another partition")                                         \
  X(partitions_created, false, "green contexts created")                                           \
  X(graphs_rebuilt, false, "graphs captured again for a partition")                                \
  X(requests, false, "requests of the profile launched to their end")                              \
  X(pieces, false, "pieces of requests that the policy has let go")                                \
  X(segments, false, "segments of graphs launched by themselves")                                  \
  X(unprofiled_launches, false, "launches that the profile does not know")                         \
  X(resyncs, false, "launches that the profile expected elsewhere")                                \
  X(uncovered_entries, true, "driver entries asked for that the library does not know")            \
  X(uncovered_paths, true, "libraries that reach the driver past the preload")                     \
  X(open_contexts, true, "launches in contexts other than the primary one: not confined")          \
  X(open_devices, true, "launches on a device that is not the session's: not confined")            \
  X(open_green, true, "launches on green contexts of the program's own: not confined")             \
  X(open_graphs, true, "launches of graphs that can't be rebuilt for a partition: not confined")   \
  X(open_large, true, "cooperative or cluster launches too large for the partition: on all units") \
  X(open_named, true, "kernels with a grid barrier of their own: on all units")                    \
  X(open_entries, true, "launches through entries without a stream (cuLaunch): on all units")      \
  X(extra_partitions, true, "partitions made beyond the usual bound: 5.5 MiB of GPU memory each")  \
  X(near_partitions, true, "launches on a partition with some fewer units, as there are many")     \
  X(unscheduled_launches, true,                                                                    \
    "launches past the policy: another process or thread had the turn")                            \
  X(unsegmented_graphs, true, "launches of graphs that can't be cut: in one piece")                \
  X(unbuilt_pieces, true, "pieces on all units: their graphs or partition were still being made")  \
  X(late_pieces, true, "pieces let go early: those before took too long")                          \
  X(units_late, true, "times own units were used before their last holder had left them")          \
  X(lost_timelines, true, "timelines that could not be recorded")                                  \
  X(driver_errors, true, "internal driver calls that failed: the launch passed through unconfined")

enum class Counter : std::uint32_t {
#define FICO_COUNTER_ENUM(identifier, fall_back, meaning) identifier,
  FICO_COUNTERS(FICO_COUNTER_ENUM)
#undef FICO_COUNTER_ENUM
      count
};
static_assert(static_cast<std::uint32_t>(Counter::count) <= kMaxCounters);

struct CounterInfo {
  const char* name;
  bool fall_back;
  const char* meaning;
};

inline constexpr CounterInfo kCounters[] = {
#define FICO_COUNTER_ROW(identifier, fall_back, meaning) {#identifier, fall_back, meaning},
    FICO_COUNTERS(FICO_COUNTER_ROW)
#undef FICO_COUNTER_ROW
};

}  // namespace fico::arena
