// The green contexts of one device: one for each range of units that was asked for, made when it is
// first needed and kept, up to a bound.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace fico::cuda {

// A contiguous range of units as a green context; without one (`green` is nullptr) all units, in
// the primary context. Only the pool makes and ends green contexts.
struct Partition {
  std::uint32_t lo;
  std::uint32_t hi;
  CUgreenCtx green;
  CUcontext context;  // the green context as a CUcontext, for the nodes of graphs
  // Idle streams of streams that the program has destroyed: made anew they would cost 0.5 MiB each.
  struct Spare {
    CUstream stream;
    int priority;
  };
  std::vector<Spare> spares;
  CUstream capture = nullptr;  // to capture nodes in, if that was ever needed
};

// Not thread-safe: the owner locks. Its driver calls may be made while the program captures.
//
// A partition is never given back while its context lives: destroying a green context does not free
// its memory (driver 580.159.04, docs/driver-facts.md), so making it anew would cost that much
// again.
class PartitionPool {
 public:
  // The largest one inside of these units; nullptr if there is none with three quarters of them.
  Partition* nearest(std::uint32_t lo, std::uint32_t hi) const;

  // Some 5.5 MiB of GPU memory each with a stream, and a tenant is to cost less than 100 MiB.
  // Quotas that change more often than that are followed all the same, and counted.
  static constexpr std::size_t kCapacity = 12;
  // That, or FICO_PARTITIONS: policies that size every kernel use two or three times as many.
  static std::size_t capacity();

  // Splits the device as the session's arena says. False if the driver splits it otherwise.
  bool open(CUdevice device, const std::uint32_t* sms_per_unit, std::uint32_t unit_count);

  // The partition of exactly these units if there is one.
  Partition* find(std::uint32_t lo, std::uint32_t hi) const;
  // Makes it; 1.5 ms. nullptr if the driver refuses.
  Partition* make(std::uint32_t lo, std::uint32_t hi);
  // The same in two steps: create() may be called without the owner's lock, if nobody opens or
  // clears the pool meanwhile.
  std::unique_ptr<Partition> create(std::uint32_t lo, std::uint32_t hi);
  Partition* add(std::unique_ptr<Partition> partition);

  bool is_open() const { return !units_.empty(); }
  bool is_full() const { return partitions_.size() >= capacity(); }
  const std::vector<std::unique_ptr<Partition>>& partitions() const { return partitions_; }

  // Ends all; their streams have been destroyed. With `destroy` in the driver too: otherwise the
  // primary context has gone and took them along.
  void clear(bool destroy);

 private:
  CUdevice device_ = 0;
  std::vector<CUdevResource> units_;
  std::vector<std::unique_ptr<Partition>> partitions_;
};

}  // namespace fico::cuda
