// Who is a tenant of the session: joining, leaving, changing, and sweeping up after the dead.
// Every function takes the session's file lock, which the kernel gives back if its holder is
// killed, and ends by distributing the units anew. Control path: microseconds to a millisecond.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "arena/arena.hpp"
#include "arena/shares.hpp"

namespace fico::arena {

struct Member {
  std::uint32_t slot;
  std::uint32_t generation;
};

struct Wish {
  std::string name;
  Quota quota;
  std::int32_t priority = 0;
  std::uint64_t memory_bytes = 0;
};

struct Change {
  std::optional<Quota> quota;
  std::optional<std::int32_t> priority;
  std::optional<std::string> name;
};

// Throws ArenaError: name taken or impossible, quotas beyond 100%, no slot or unit left, no such
// process.
Member join(const Arena& arena, const Wish& wish, pid_t pid);
// Nothing happens if the tenant has ended already.
void leave(const Arena& arena, Member member);
// Throws ArenaError: no such tenant, and as in join.
void update(const Arena& arena, const std::string& name, const Change& change);
// `schedule`: name and settings, as Layout::schedule.
void set_policy(const Arena& arena, Policy policy, const std::string& schedule);
// Ends the tenants of which no process lives, and repeats a distribution that was cut short.
// Returns the names of those it ended. Unless it waits, nothing is done while another process
// changes the session.
std::vector<std::string> sweep(const Arena& arena, bool waits = true);

// Without the lock: whether a sweep has something to do.
bool needs_sweep(const Arena& arena);

// Enters a process of a tenant, so that the tenant lives as long as it does. Lock-free. False if
// the tenant has ended or has too many processes.
bool enter_process(const Arena& arena, Member member, pid_t pid);

}  // namespace fico::arena
