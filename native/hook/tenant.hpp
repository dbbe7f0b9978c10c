// This process as a tenant of its session: the grant it reads, what it counts, the units it claims.
#pragma once

#include <atomic>
#include <cstdint>

#include "arena/arena.hpp"
#include "arena/claims.hpp"
#include "arena/counters.hpp"
#include "arena/membership.hpp"
#include "hook/hot.hpp"

namespace fico::hook {

using arena::Counter;

// One a process, made at the first use of CUDA and never destroyed: other threads of the program
// may still launch while it exits.
class Tenant {
 public:
  static Tenant& self();

  // Enters the session that FICO_ARENA and FICO_TENANT name, once; later calls return at once. If
  // that fails the program runs as without Fico and one line says why.
  void attach();

  // Starts the thread that keeps claims and sweeps up after dead tenants. Called when the session's
  // GPU is first used. In a forked child nothing is started.
  void start_keeper();

  // False if there was no session, it could not be entered, or this is a forked child of a process
  // that used CUDA: then every call passes through.
  static bool is_active() { return hot.is_active.load(std::memory_order_relaxed); }

  // The grant now; open if not active.
  static arena::Grant grant() { return row().grant.load(std::memory_order_acquire); }

  // The units to work on under a confining grant: those of it that are claimed already.
  struct Range {
    std::uint32_t lo;
    std::uint32_t hi;
  };
  Range own_range(arena::Grant grant);

  const arena::Layout& session() const { return arena_->layout(); }
  const arena::Arena& arena() const { return *arena_; }
  std::uint32_t slot() const { return member_.slot; }

  static void count(Counter counter) {
    row().counters[static_cast<std::uint32_t>(counter)].fetch_add(1, std::memory_order_relaxed);
  }
  static std::uint64_t counted(Counter counter) {
    return row().counters[static_cast<std::uint32_t>(counter)].load(std::memory_order_relaxed);
  }
  // Counts, and keeps the text for `fico status` if it is new and among the first of its tenant.
  static void count(Counter counter, const char* note);

  // Where the program is in its profiled requests.
  static void publish(const arena::Progress& progress) { row().progress.write(progress); }

 private:
  Tenant();
  void keep();
  bool settle(arena::Grant grant);
  static void in_forked_child();

  // Where a process without a session reads and counts: always open, never shown. Also one whose
  // session was ended: its streams are brought home by their next launches, in order.
  static arena::Tenant nobody_;
  static arena::Tenant& row() {
    arena::Tenant* row = hot.row.load(std::memory_order_relaxed);
    return row != nullptr ? *row : nobody_;
  }

  arena::Arena* arena_ = nullptr;
  arena::Member member_{};
  std::atomic<arena::Grant> own_;  // the range in use, and the epoch it was settled for
};

}  // namespace fico::hook
