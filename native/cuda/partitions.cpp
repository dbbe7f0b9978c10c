#include "cuda/partitions.hpp"

#include "base/limit.hpp"
#include "cuda/driver.hpp"

namespace fico::cuda {

bool PartitionPool::open(CUdevice device, const std::uint32_t* sms_per_unit,
                         std::uint32_t unit_count) {
  const Driver& d = driver();
  if (d.green_create == nullptr || d.green_stream == nullptr || d.split_sms == nullptr ||
      d.generate_desc == nullptr || d.device_get_resource == nullptr ||
      d.green_as_context == nullptr) {
    return false;
  }
  const RelaxedCapture relaxed;
  CUdevResource all{};
  if (d.device_get_resource(device, &all, CU_DEV_RESOURCE_TYPE_SM) != CUDA_SUCCESS) return false;
  // Groups of equal size and one remainder, which is the last unit (DESIGN: 15 x 8 and 12 on an
  // H200).
  unsigned int groups = unit_count;
  std::vector<CUdevResource> units(unit_count + 1);
  CUdevResource remainder{};
  if (d.split_sms(units.data(), &groups, &all, &remainder, 0, sms_per_unit[0]) != CUDA_SUCCESS) {
    return false;
  }
  units.resize(groups);
  if (remainder.type == CU_DEV_RESOURCE_TYPE_SM && remainder.sm.smCount != 0) {
    units.push_back(remainder);
  }
  if (units.size() != unit_count) return false;
  for (std::uint32_t unit = 0; unit < unit_count; ++unit) {
    if (units[unit].sm.smCount != sms_per_unit[unit]) return false;
  }
  device_ = device;
  units_ = std::move(units);
  return true;
}

std::size_t PartitionPool::capacity() {
  static const std::size_t most = base::limit("FICO_PARTITIONS", kCapacity);
  return most;
}

Partition* PartitionPool::find(std::uint32_t lo, std::uint32_t hi) const {
  for (const auto& partition : partitions_) {
    if (partition->lo == lo && partition->hi == hi) return partition.get();
  }
  return nullptr;
}

Partition* PartitionPool::nearest(std::uint32_t lo, std::uint32_t hi) const {
  Partition* best = nullptr;
  for (const auto& partition : partitions_) {
    if (partition->lo < lo || partition->hi > hi) continue;
    if (best == nullptr || partition->hi - partition->lo > best->hi - best->lo) {
      best = partition.get();
    }
  }
  const bool is_near = best != nullptr && 4 * (best->hi - best->lo) >= 3 * (hi - lo);
  return is_near ? best : nullptr;
}

Partition* PartitionPool::make(std::uint32_t lo, std::uint32_t hi) {
  std::unique_ptr<Partition> made = create(lo, hi);
  return made != nullptr ? add(std::move(made)) : nullptr;
}

Partition* PartitionPool::add(std::unique_ptr<Partition> partition) {
  partitions_.push_back(std::move(partition));
  return partitions_.back().get();
}

std::unique_ptr<Partition> PartitionPool::create(std::uint32_t lo, std::uint32_t hi) {
  if (hi > units_.size() || lo >= hi) return nullptr;
  const RelaxedCapture relaxed;
  const Driver& d = driver();
  CUdevResourceDesc description{};
  CUgreenCtx green{};
  CUcontext context{};
  if (d.generate_desc(&description, &units_[lo], hi - lo) != CUDA_SUCCESS ||
      d.green_create(&green, description, device_, CU_GREEN_CTX_DEFAULT_STREAM) != CUDA_SUCCESS) {
    return nullptr;
  }
  if (d.green_as_context(&context, green) != CUDA_SUCCESS) {
    d.green_destroy(green);
    return nullptr;
  }
  return std::make_unique<Partition>(lo, hi, green, context);
}

void PartitionPool::clear(bool destroy) {
  const RelaxedCapture relaxed;
  for (const auto& partition : partitions_) {
    if (!destroy) continue;
    for (const Partition::Spare& spare : partition->spares) driver().stream_destroy(spare.stream);
    if (partition->capture != nullptr) driver().stream_destroy(partition->capture);
    driver().green_destroy(partition->green);
  }
  partitions_.clear();
  units_.clear();
}

}  // namespace fico::cuda
