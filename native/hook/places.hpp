// Where a virtual stream may be: the real streams that it has on partitions, made when they are
// first needed. The caller holds the stream's mutex in all of these.
#pragma once

#include <cstdint>

#include "cuda/partitions.hpp"
#include "hook/streams.hpp"

namespace fico::hook {

// The partition of these units, or a random one; nullptr if it can't be made: counted, and the
// stream stays where it is.
cuda::Partition* partition_of(Stream& stream, std::uint32_t lo, std::uint32_t hi);
cuda::Partition* random_partition(Stream& stream);

// The stream's place there, made if it is new; its `partition` is nullptr if the driver refused.
Place place_on(Stream& stream, cuda::Partition& partition, int priority);
// Its place at a target; `partition` is nullptr at home, and where the driver refused (counted).
Place place_at(Stream& stream, const Target& target);

// Its streams on partitions become spare ones, or are destroyed.
void give_up_places(Stream& stream);

}  // namespace fico::hook
