#include "hook/tenant.hpp"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "hook/coverage.hpp"
#include "hook/live.hpp"
#include "hook/pacer.hpp"
#include "hook/streams.hpp"

namespace fico::hook {
namespace {

// Dead tenants' units are to come back within 100 ms, a released unit within 10.
constexpr long kIdlePeriod_ns = 40'000'000;
constexpr long kUnsettledPeriod_ns = 1'000'000;
// Of a tenant in a request: others take one that is silent for 8 ms for stopped.
constexpr long kScheduledPeriod_ns = 2'000'000;

std::once_flag attached;
std::once_flag keeper_started;
std::mutex settling;

// The longest run of set bits; the first of several.
Tenant::Range longest_run(arena::UnitSet units) {
  Tenant::Range best{0, 0};
  std::uint32_t unit = 0;
  while (unit < 64) {
    if (((units >> unit) & 1U) == 0) {
      ++unit;
      continue;
    }
    const auto length = static_cast<std::uint32_t>(std::countr_one(units >> unit));
    if (length > best.hi - best.lo) best = {unit, unit + length};
    unit += length;
  }
  return best;
}

}  // namespace

constinit arena::Tenant Tenant::nobody_{};

Tenant::Tenant() = default;

Tenant& Tenant::self() {
  static auto* tenant = new Tenant;
  return *tenant;
}

void Tenant::attach() {
  std::call_once(attached, [this] {
    const char* path = std::getenv("FICO_ARENA");
    const char* member = std::getenv("FICO_TENANT");
    if (path == nullptr || member == nullptr) return;
    try {
      const std::string text = member;
      const char* end = text.c_str() + text.size();
      const auto slot = std::from_chars(text.c_str(), end, member_.slot);
      const bool more = slot.ec == std::errc{} && slot.ptr != end && *slot.ptr == ':';
      const auto generation = std::from_chars(more ? slot.ptr + 1 : end, end, member_.generation);
      if (generation.ec != std::errc{} || generation.ptr != end ||
          member_.slot >= arena::kMaxTenants) {
        throw arena::ArenaError("FICO_TENANT is '" + text +
                                "', not SLOT:GENERATION; start the program with 'fico run'");
      }
      auto* opened = new arena::Arena(arena::Arena::open(path));
      if (!enter_process(*opened, member_, getpid())) {
        throw arena::ArenaError(
            "tenant " + std::string(member) + " of " + path +
            " has ended or has too many processes; start the program with 'fico run'");
      }
      arena_ = opened;
      hot.row = &opened->tenant(member_.slot);
      hot.in_request = &opened->layout().in_request;
      hot.own_bit = arena::request_bit(member_.slot);
      pthread_atfork(nullptr, nullptr, &Tenant::in_forked_child);
      hot.is_active.store(true, std::memory_order_release);
    } catch (const std::exception& error) {
      base::log_line("not sharing, the program runs as without Fico: %s", error.what());
    }
  });
}

void Tenant::in_forked_child() {
  // The driver does not work in a child of a process that used it, and our locks may be held by
  // threads that are not here. Every call passes through to the driver's own error.
  hot.is_active.store(false, std::memory_order_relaxed);
  hot.row = nullptr;
}

void Tenant::start_keeper() {
  if (!is_active()) return;
  std::call_once(keeper_started, [this] {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this] { keep(); }).detach();
    } catch (const std::exception& error) {
      base::log_line("no thread for housekeeping (%s): changed quotas take effect late",
                     error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  });
}

void Tenant::keep() {
  pthread_setname_np(pthread_self(), "fico-keeper");
  bool settled = true;
  std::uint64_t next_round_ns = 0;
  while (is_active()) {
    std::atomic<std::uint32_t>& news = arena_->layout().change_ended;
    const std::uint32_t seen = news.load();
    if (!arena_->is_live(member_.slot, member_.generation)) {
      base::log_line("the session was ended: the program goes on unconfined");
      hot.row.store(nullptr);
      return;
    }
    try {
      settled = settle(grant());
      const std::uint64_t now_ns = base::monotonic_ns();
      if (now_ns >= next_round_ns) {
        next_round_ns = now_ns + kIdlePeriod_ns;
        // Who has the lock may be stopped: this thread must go on.
        if (needs_sweep(*arena_)) sweep(*arena_, false);
        scan_coverage();
      }
      if (grant().mode == arena::Mode::kScheduled) Pacer::self().tick();
      if (Live* live = Live::self()) live->catch_up();
    } catch (const std::exception& error) {
      base::log_line("housekeeping failed: %s", error.what());
    }
    const bool scheduled = grant().mode == arena::Mode::kScheduled;
    const timespec period{0, !settled    ? kUnsettledPeriod_ns
                             : scheduled ? kScheduledPeriod_ns
                                         : kIdlePeriod_ns};
    syscall(SYS_futex, &news, FUTEX_WAIT, seen, &period, nullptr, 0);
  }
}

Tenant::Range Tenant::own_range(arena::Grant grant) {
  arena::Grant own = own_.load(std::memory_order_acquire);
  if (own.epoch != grant.epoch) {
    settle(grant);
    own = own_.load(std::memory_order_acquire);
  }
  return {own.lo, own.hi};
}

// Claims what the grant gives and nobody works on any more, gives back what it no longer gives and
// this process no longer works on. True if nothing is left to do.
bool Tenant::settle(arena::Grant grant) {
  const std::lock_guard lock(settling);
  const arena::Holder holder = arena::make_holder(member_.slot, member_.generation);
  const bool confined = grant.mode == arena::Mode::kConfined;
  const arena::UnitSet wanted = confined ? arena::units_between(grant.lo, grant.hi) : 0;
  const arena::UnitSet held = claim_units(*arena_, holder, wanted);
  if (confined) {
    Range range = longest_run(held);
    if (range.lo == range.hi) {
      // Nothing is free yet: the last holder's queued work runs beside ours until it has gone.
      range = {grant.lo, grant.hi};
      if (own_.load().epoch != grant.epoch) count(Counter::units_late);
    }
    own_.store({static_cast<std::uint8_t>(range.lo), static_cast<std::uint8_t>(range.hi),
                grant.mode, 0, grant.epoch},
               std::memory_order_release);
  }
  const arena::UnitSet surplus = units_of(*arena_, holder) & ~wanted;
  bool settled = held == wanted;
  if (surplus != 0) {
    if (Streams::self().is_idle_on(surplus)) {
      release_units(*arena_, holder, surplus);
    } else {
      settled = false;
    }
  }
  return settled;
}

void Tenant::count(Counter counter, const char* note) {
  count(counter);
  if (!is_active()) return;
  arena::Tenant& own = row();
  const std::uint32_t kept = std::min(own.note_count.load(), arena::kMaxNotes);
  for (std::uint32_t i = 0; i < kept; ++i) {
    if (std::strncmp(own.notes[i], note, arena::kNoteBytes - 1) == 0) return;
  }
  const std::uint32_t index = own.note_count.fetch_add(1);
  if (index >= arena::kMaxNotes) {
    own.note_count.store(arena::kMaxNotes);
    return;
  }
  std::snprintf(own.notes[index], arena::kNoteBytes, "%s", note);
}

}  // namespace fico::hook
