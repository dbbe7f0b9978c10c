// The numbers of the GPU that is modelled: an H200 as driver 580 presents it.
#pragma once

#include <cstdint>
#include <vector>

#include "device/sm_set.hpp"

namespace fico::device {

inline constexpr std::uint64_t kMemoryBytes = 141'000'000'000;
/// A copy between host and device, one direction.
inline constexpr double kHostLinkBytesPerUs = 50e3;
/// A copy or a memset inside the device memory.
inline constexpr double kMemoryBytesPerUs = 2e6;
inline constexpr unsigned kMaxThreadsPerBlock = 1024;
/// Size of a unit: SMs that are co-scheduled, so that a thread-block cluster can span them.
inline constexpr unsigned kUnitSms = 8;
/// The last one has the 4 SMs besides that belong to no group.
inline constexpr unsigned kUnits = 16;
/// The largest thread-block cluster that is portable.
inline constexpr unsigned kMaxClusterBlocks = 8;
/// What a green context costs in device memory.
inline constexpr std::uint64_t kGreenContextBytes = 5'767'168;

/// A set of SMs split in groups of one size, and the rest.
struct SmSplit {
  unsigned group_sms = 0;
  std::vector<SmSet> groups;
  SmSet remainder;
};

/// Splits as cuDevSmResourceSplitByCount does: at least `min_sms` a group, at most `max_groups`
/// groups. Co-scheduled groups are multiples of 8 SMs; of the whole device they are 15 of 8 or 8 of
/// 16, because its SMs do not divide evenly into them. Otherwise groups are multiples of 2.
SmSplit split_sms(const SmSet& input, unsigned min_sms, bool co_scheduled, unsigned max_groups);

}  // namespace fico::device
