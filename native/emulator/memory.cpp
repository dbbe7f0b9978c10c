#include "emulator/memory.hpp"

#include <sys/mman.h>

#include <vector>

#include "emulator/shared_state.hpp"

namespace fico::emulator {
namespace {

constexpr bool on_device(MemoryKind kind) {
  return kind == MemoryKind::kDevice || kind == MemoryKind::kAsync ||
         kind == MemoryKind::kManaged || kind == MemoryKind::kGlobal;
}

void* map_memory(std::size_t bytes) {
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
}

}  // namespace

Memory& memory() {
  static auto& instance = *new Memory;
  return instance;
}

bool Memory::take_room(std::uint64_t bytes) {
  const auto others = shared_state().memory_of_others();
  auto used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_bytes_ || used + bytes > limit_bytes_) return false;
    if (used + others + bytes > device::kMemoryBytes) return false;
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  shared_state().publish_memory(used + bytes);
  return true;
}

void Memory::charge(std::uint64_t bytes) {
  shared_state().publish_memory(used_bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes);
}

void Memory::discharge(std::uint64_t bytes) {
  shared_state().publish_memory(used_bytes_.fetch_sub(bytes, std::memory_order_relaxed) - bytes);
}

std::optional<std::uint64_t> Memory::allocate(std::size_t bytes, MemoryKind kind, CUcontext context,
                                              unsigned host_flags) {
  if (on_device(kind) && !take_room(bytes)) return std::nullopt;
  void* mapped = map_memory(bytes);
  if (!mapped) {
    if (on_device(kind)) discharge(bytes);
    return std::nullopt;
  }
  const auto base = reinterpret_cast<std::uint64_t>(mapped);
  const std::lock_guard lock(mutex_);
  allocations_[base] = {base, bytes, kind, host_flags, context, next_id_++};
  return base;
}

bool Memory::add_registered(void* host, std::size_t bytes, unsigned flags, CUcontext context) {
  const auto base = reinterpret_cast<std::uint64_t>(host);
  const std::lock_guard lock(mutex_);
  const auto next = allocations_.lower_bound(base);
  if (next != allocations_.end() && next->first < base + bytes) return false;
  if (next != allocations_.begin()) {
    const auto& before = std::prev(next)->second;
    if (before.base + before.bytes > base) return false;
  }
  allocations_[base] = {base, bytes, MemoryKind::kRegistered, flags, context, next_id_++};
  return true;
}

bool Memory::remove(std::uint64_t base) {
  Allocation gone;
  {
    const std::lock_guard lock(mutex_);
    const auto found = allocations_.find(base);
    if (found == allocations_.end()) return false;
    gone = found->second;
    allocations_.erase(found);
  }
  if (gone.kind != MemoryKind::kRegistered) munmap(pointer_to<void>(base), gone.bytes);
  if (on_device(gone.kind)) discharge(gone.bytes);
  return true;
}

void Memory::release_context(CUcontext context) {
  std::vector<std::uint64_t> bases;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [base, allocation] : allocations_) {
      if (allocation.context == context) bases.push_back(base);
    }
  }
  for (auto base : bases) remove(base);
}

std::optional<Allocation> Memory::find(std::uint64_t address) const {
  const std::lock_guard lock(mutex_);
  auto after = allocations_.upper_bound(address);
  if (after == allocations_.begin()) return std::nullopt;
  const auto& candidate = std::prev(after)->second;
  if (address - candidate.base >= candidate.bytes) return std::nullopt;
  return candidate;
}

bool Memory::device_can_reach(std::uint64_t address, std::size_t bytes) const {
  if (!bytes) return true;
  const auto found = find(address);
  return found && bytes <= found->bytes - (address - found->base);
}

bool Memory::is_pageable(const void* address) const {
  return !find(reinterpret_cast<std::uint64_t>(address));
}

}  // namespace fico::emulator
