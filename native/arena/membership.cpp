#include "arena/membership.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>

#include "arena/claims.hpp"
#include "base/clock.hpp"
#include "base/process.hpp"

namespace fico::arena {
namespace {

// The session's lock: flock on a descriptor of its own, so that threads exclude each other as well
// as processes, and the kernel releases it when the holder dies.
class Lock {
 public:
  explicit Lock(const Arena& arena, bool waits = true)
      : fd_(::open(arena.path().c_str(), O_RDWR | O_CLOEXEC)) {
    if (fd_ < 0) {
      throw base::SystemError(errno, "the arena " + arena.path() +
                                         " can't be locked: " + std::strerror(errno) +
                                         "; the session has ended, start it again");
    }
    int result = 0;
    do {
      result = flock(fd_, LOCK_EX | (waits ? 0 : LOCK_NB));
    } while (result != 0 && errno == EINTR);
    held_ = result == 0;
  }
  ~Lock() { close(fd_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  bool is_held() const { return held_; }

 private:
  int fd_;
  bool held_ = false;
};

std::vector<std::uint32_t> live_slots(const Arena& arena) {
  std::vector<std::uint32_t> slots;
  for (std::uint32_t slot = 0; slot < kMaxTenants; ++slot) {
    if (arena.tenant(slot).phase.load() == Phase::kLive) slots.push_back(slot);
  }
  return slots;
}

Quota quota_of(const Tenant& tenant) { return tenant.quota.load(); }

std::string percent(std::uint64_t ppm) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g%%", static_cast<double>(ppm) / 10'000);
  return text;
}

// Throws the ArenaError that says why these quotas don't fit.
void refuse(const Arena& arena, const std::vector<std::string>& names,
            const std::vector<Quota>& quotas) {
  const std::uint32_t unit_count = arena.layout().unit_count;
  const std::uint64_t sum_ppm = reserved_ppm(quotas, unit_count);
  std::string parts;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i != 0) parts += ", ";
    parts += names[i] + " ";
    if (quotas[i].units != 0) {
      parts += std::to_string(quotas[i].units) + "u";
    } else {
      parts += quotas[i].ppm != 0 ? percent(quotas[i].ppm) : "no quota";
    }
  }
  if (sum_ppm > kWhole_ppm) {
    throw ArenaError("the quotas add up to " + percent(sum_ppm) + " (" + parts +
                     "): lower one of them with 'fico set NAME --quota N%' or end a tenant");
  }
  throw ArenaError("there are not enough units for " + std::to_string(names.size()) +
                   " tenants on " + std::to_string(unit_count) + " units (" + parts +
                   "): lower a quota with 'fico set NAME --quota N%' or end a tenant");
}

// Checks the quotas of all live tenants, with those of `slot` (or of one more tenant, if it is no
// live slot) replaced by `quota`.
void check_quotas(const Arena& arena, std::uint32_t slot, const std::string& name, Quota quota) {
  std::vector<std::string> names;
  std::vector<Quota> quotas;
  bool replaced = false;
  for (const std::uint32_t live : live_slots(arena)) {
    replaced |= live == slot;
    names.emplace_back(live == slot ? name : arena.tenant(live).name);
    quotas.push_back(live == slot ? quota : quota_of(arena.tenant(live)));
  }
  if (!replaced) {
    names.push_back(name);
    quotas.push_back(quota);
  }
  if (share_units(quotas, arena.layout().unit_count).empty()) refuse(arena, names, quotas);
}

void check_name(const Arena& arena, const std::string& name, std::uint32_t own_slot) {
  if (name.empty() || name.size() >= sizeof(Tenant::name)) {
    throw ArenaError("the name '" + name + "' has " + std::to_string(name.size()) +
                     " characters: give it 1 to 63");
  }
  for (const std::uint32_t slot : live_slots(arena)) {
    if (slot != own_slot && name == arena.tenant(slot).name) {
      throw ArenaError("there is a tenant '" + name + "' already: choose another with --name");
    }
  }
}

void set_name(Tenant& tenant, const std::string& name) {
  std::memset(tenant.name, 0, sizeof tenant.name);
  std::memcpy(tenant.name, name.data(), name.size());
}

// Gives every live tenant its grant from the quotas and the policy, and wakes those who wait for
// news. May be repeated at any time; the caller holds the lock.
void distribute(const Arena& arena) {
  Layout& layout = arena.layout();
  const std::uint32_t change = layout.change_begun.load() + 1;
  layout.change_begun.store(change);
  const std::vector<std::uint32_t> slots = live_slots(arena);
  std::vector<Quota> quotas(slots.size());
  std::ranges::transform(slots, quotas.begin(),
                         [&](std::uint32_t slot) { return quota_of(arena.tenant(slot)); });
  const std::vector<std::uint32_t> units = share_units(quotas, layout.unit_count);
  const Policy policy = layout.policy.load();
  const auto all = static_cast<std::uint8_t>(layout.unit_count);
  std::uint8_t lo = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    // Quotas were checked when they were set; if they were damaged since, nobody is confined.
    const auto hi = units.empty() ? all : static_cast<std::uint8_t>(lo + units[i]);
    Grant grant{0, all, Mode::kOpen, 0, change};
    if (policy == Policy::kShuffle) grant.mode = Mode::kShuffle;
    if (policy == Policy::kScheduled) grant = {lo, hi, Mode::kScheduled, 0, change};
    if (policy == Policy::kStatic && (lo != 0 || hi != all)) {
      grant = {lo, hi, Mode::kConfined, 0, change};
    }
    arena.tenant(slots[i]).grant.store(grant, std::memory_order_release);
    if (!units.empty()) lo = hi;
  }
  layout.change_ended.store(change);
  syscall(SYS_futex, &layout.change_ended, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

bool is_alive(const Tenant& tenant) {
  if (base::is_alive(tenant.leader.load(std::memory_order_acquire))) return true;
  for (const auto& process : tenant.processes) {
    if (base::is_alive(process.load(std::memory_order_acquire))) return true;
  }
  return false;
}

void end_tenant(const Arena& arena, std::uint32_t slot) {
  Tenant& tenant = arena.tenant(slot);
  const Holder holder = make_holder(slot, tenant.generation.load());
  tenant.phase.store(Phase::kFree, std::memory_order_release);
  arena.layout().in_request.fetch_and(~request_bit(slot));
  release_units(arena, holder, ~UnitSet{0});
}

// Ends tenants without a live process; the caller holds the lock and distributes afterwards.
std::vector<std::string> end_dead(const Arena& arena) {
  std::vector<std::string> names;
  for (const std::uint32_t slot : live_slots(arena)) {
    if (is_alive(arena.tenant(slot))) continue;
    names.emplace_back(arena.tenant(slot).name);
    end_tenant(arena, slot);
  }
  return names;
}

}  // namespace

Member join(const Arena& arena, const Wish& wish, pid_t pid) {
  const Lock lock(arena);
  if (!end_dead(arena).empty()) distribute(arena);
  const base::ProcessId leader = base::identify(pid);
  if (leader == 0)
    throw ArenaError("process " + std::to_string(pid) + " does not run and can't be a tenant");
  check_name(arena, wish.name, kMaxTenants);
  check_quotas(arena, kMaxTenants, wish.name, wish.quota);
  for (std::uint32_t slot = 0; slot < kMaxTenants; ++slot) {
    Tenant& tenant = arena.tenant(slot);
    if (tenant.phase.load() != Phase::kFree) continue;
    const std::uint32_t generation = tenant.generation.load() + 1;
    tenant.generation.store(generation);
    tenant.leader.store(leader);
    for (auto& process : tenant.processes) process.store(0);
    for (auto& counter : tenant.counters) counter.store(0);
    tenant.note_count.store(0);
    tenant.seat.store(0);
    tenant.beat_ns.store(0);
    tenant.progress.clear();
    tenant.row.clear();
    arena.layout().in_request.fetch_and(~request_bit(slot));
    tenant.quota.store(wish.quota);
    tenant.priority.store(wish.priority);
    tenant.memory_bytes = wish.memory_bytes;
    tenant.joined_ns = base::realtime_ns();
    set_name(tenant, wish.name);
    tenant.phase.store(Phase::kLive, std::memory_order_release);
    distribute(arena);
    return {slot, generation};
  }
  throw ArenaError("the session has " + std::to_string(kMaxTenants) +
                   " tenants, which is all that one GPU takes: end one first");
}

void leave(const Arena& arena, Member member) {
  const Lock lock(arena);
  if (!arena.is_live(member.slot, member.generation)) return;
  end_tenant(arena, member.slot);
  distribute(arena);
}

void update(const Arena& arena, const std::string& name, const Change& change) {
  const Lock lock(arena);
  end_dead(arena);
  std::string known;
  for (const std::uint32_t slot : live_slots(arena)) {
    Tenant& tenant = arena.tenant(slot);
    known += (known.empty() ? "" : ", ") + std::string(tenant.name);
    if (name != tenant.name) continue;
    if (change.name) check_name(arena, *change.name, slot);
    if (change.quota) {
      check_quotas(arena, slot, name, *change.quota);
      tenant.quota.store(*change.quota);
    }
    if (change.priority) tenant.priority.store(*change.priority);
    if (change.name) set_name(tenant, *change.name);
    distribute(arena);
    return;
  }
  distribute(arena);
  throw ArenaError("there is no tenant '" + name + "'" +
                   (known.empty() ? ": the session has no tenants" : ": the session has " + known));
}

void set_policy(const Arena& arena, Policy policy, const std::string& schedule) {
  const Lock lock(arena);
  end_dead(arena);
  Layout& layout = arena.layout();
  if (schedule.size() >= sizeof layout.schedule) {
    throw ArenaError("the settings of the policy take " + std::to_string(schedule.size()) +
                     " characters, at most 255 are kept: give fewer");
  }
  layout.change_begun.fetch_add(1);
  layout.policy.store(policy);
  std::memset(layout.schedule, 0, sizeof layout.schedule);
  std::memcpy(layout.schedule, schedule.data(), schedule.size());
  layout.schedule_number.fetch_add(1);
  distribute(arena);
}

std::vector<std::string> sweep(const Arena& arena, bool waits) {
  const Lock lock(arena, waits);
  if (!waits && !lock.is_held()) return {};
  std::vector<std::string> names = end_dead(arena);
  if (!names.empty() || arena.layout().change_begun.load() != arena.layout().change_ended.load()) {
    distribute(arena);
  }
  return names;
}

bool needs_sweep(const Arena& arena) {
  if (arena.layout().change_begun.load() != arena.layout().change_ended.load()) return true;
  for (const std::uint32_t slot : live_slots(arena)) {
    if (!is_alive(arena.tenant(slot))) return true;
  }
  return false;
}

bool enter_process(const Arena& arena, Member member, pid_t pid) {
  const base::ProcessId self = base::identify(pid);
  Tenant& tenant = arena.tenant(member.slot);
  for (auto& word : tenant.processes) {
    std::uint64_t present = word.load();
    if (present == self) return arena.is_live(member.slot, member.generation);
    if (present != 0 && base::is_alive(present)) continue;
    if (word.compare_exchange_strong(present, self)) {
      if (arena.is_live(member.slot, member.generation)) return true;
      std::uint64_t own = self;
      word.compare_exchange_strong(own, 0);
      return false;
    }
  }
  return false;
}

}  // namespace fico::arena
