// The green contexts of one device: one for each range of units that was asked for, made when it is
// first needed and kept, up to a bound.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace fico::cuda {

// A contiguous range of units as a green context. `users` counts what must not lose it: streams
// whose work goes there now and graphs built for it. Only the pool makes and ends partitions.
struct Partition {
  std::uint32_t lo;
  std::uint32_t hi;
  CUgreenCtx green;
  CUcontext context;  // the green context as a CUcontext, for the nodes of graphs
  std::atomic<std::uint32_t> users{0};
  std::atomic<std::uint64_t> last_used{0};
};

// Not thread-safe: the owner locks. Its driver calls may be made while the program captures.
class PartitionPool {
 public:
  // Some 5 MiB of GPU memory and 1.5 ms each (docs/driver-facts.md); a tenant is to cost < 100 MiB.
  static constexpr std::size_t kCapacity = 12;

  // Splits the device as the session's arena says. False if the driver splits it otherwise.
  bool open(CUdevice device, const std::uint32_t* sms_per_unit, std::uint32_t unit_count);

  // The partition of exactly these units if there is one.
  Partition* find(std::uint32_t lo, std::uint32_t hi);

  // Makes it. nullptr if the pool is full (see victim()) or the driver refuses (`failed` is set).
  Partition* make(std::uint32_t lo, std::uint32_t hi, bool& failed);

  bool is_full() const { return partitions_.size() >= kCapacity; }
  // Those without users, the least recently used first: candidates for end().
  std::vector<Partition*> unused() const;
  // Ends one; its streams have been destroyed by the caller.
  void end(Partition* partition);
  const std::vector<std::unique_ptr<Partition>>& partitions() const { return partitions_; }

  // Forgets everything without driver calls: the primary context has gone.
  void forget();

 private:
  CUdevice device_ = 0;
  std::vector<CUdevResource> units_;
  std::vector<std::unique_ptr<Partition>> partitions_;
};

}  // namespace fico::cuda
