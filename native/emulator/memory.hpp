// The memory that the device can reach. Device memory is plain process memory: a device pointer is
// the host address.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

#include "device/h200.hpp"

namespace fico::emulator {

enum class MemoryKind : std::uint8_t { kDevice, kAsync, kPinned, kRegistered, kManaged, kGlobal };

struct Allocation {
  std::uint64_t base = 0;
  std::size_t bytes = 0;
  MemoryKind kind = MemoryKind::kDevice;
  unsigned host_flags = 0;
  CUcontext context = nullptr;
  unsigned long long id = 0;
};

/// Any thread may call this, the executor included; it has a lock of its own, which is taken last.
class Memory {
 public:
  /// Zeroed memory. Nothing where the device or the process has no room.
  std::optional<std::uint64_t> allocate(std::size_t bytes, MemoryKind kind, CUcontext context,
                                        unsigned host_flags = 0);
  /// Makes ordinary memory of the host pinned. False where part of it is known already.
  bool add_registered(void* host, std::size_t bytes, unsigned flags, CUcontext context);
  /// Gives an allocation back if it starts at `base` and its kind is allowed.
  template <class Allowed>
  bool release(std::uint64_t base, Allowed allowed) {
    const auto found = find(base);
    return found && found->base == base && allowed(found->kind) && remove(base);
  }
  /// Gives back all that a context owns, registered memory included.
  void release_context(CUcontext context);

  /// The allocation that holds `address`.
  std::optional<Allocation> find(std::uint64_t address) const;
  bool device_can_reach(std::uint64_t address, std::size_t bytes) const;
  /// True for ordinary memory of the host, which the driver has to stage.
  bool is_pageable(const void* address) const;

  /// What this process may have of the device; before the first allocation.
  void set_limit(std::uint64_t bytes) { limit_bytes_ = bytes; }
  /// What this process could have if it were alone.
  std::uint64_t total_bytes() const { return limit_bytes_; }
  std::uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  /// Memory of the device that is not an allocation: what contexts cost.
  void charge(std::uint64_t bytes);
  void discharge(std::uint64_t bytes);

 private:
  bool remove(std::uint64_t base);
  bool take_room(std::uint64_t bytes);

  mutable std::mutex mutex_;
  std::map<std::uint64_t, Allocation> allocations_;
  std::atomic<std::uint64_t> used_bytes_{0};
  std::uint64_t limit_bytes_ = device::kMemoryBytes;
  unsigned long long next_id_ = 1;
};

/// Device pointers are addresses of this process.
template <class T>
T* pointer_to(std::uint64_t address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

/// The one device memory of the process.
Memory& memory();

}  // namespace fico::emulator
