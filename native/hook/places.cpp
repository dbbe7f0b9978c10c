#include "hook/places.hpp"

#include <algorithm>
#include <cstdlib>
#include <random>

#include "cuda/driver.hpp"
#include "hook/builder.hpp"
#include "hook/graph_copies.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {
namespace {

// A number in [0, bound) from a generator of the thread's own (Marsaglia, "Xorshift RNGs", 2003).
std::uint32_t random_below(std::uint32_t bound) {
  thread_local std::uint64_t state = [] {
    const char* seed = std::getenv("FICO_SHUFFLE_SEED");
    const std::uint64_t start =
        seed != nullptr ? std::strtoull(seed, nullptr, 10) : std::random_device{}();
    return start * 2 + 1;  // never 0
  }();
  state ^= state << 13U;
  state ^= state >> 7U;
  state ^= state << 17U;
  return static_cast<std::uint32_t>((state >> 32U) * bound >> 32U);
}

// The caller holds the pool's mutex. nullptr if the driver refused, which is counted.
cuda::Partition* make_partition(Context& context, std::uint32_t lo, std::uint32_t hi) {
  cuda::PartitionPool& pool = context.pool;
  if (pool.is_full()) Tenant::count(Counter::extra_partitions);
  cuda::Partition* made = pool.make(lo, hi);
  if (made != nullptr) {
    Tenant::count(Counter::partitions_created);
  } else {
    Tenant::count(Counter::driver_errors, "a partition could not be made: out of GPU memory?");
  }
  return made;
}

// Has it made; launches go home until it is there. The caller holds the pool's mutex.
void make_partition_soon(Context& context, std::uint32_t lo, std::uint32_t hi) {
  const std::pair wanted{lo, hi};
  if (std::ranges::find(context.ordered, wanted) != context.ordered.end()) return;
  context.ordered.push_back(wanted);
  Builder::self().order([&context, wanted] {
    const std::lock_guard making(context.making_mutex);
    if (!context.pool.is_open() || !Tenant::is_active()) return;
    auto made = context.pool.create(wanted.first, wanted.second);
    const std::lock_guard lock(context.pool_mutex);
    std::erase(context.ordered, wanted);
    if (made != nullptr) {
      if (context.pool.is_full()) Tenant::count(Counter::extra_partitions);
      context.pool.add(std::move(made));
      Tenant::count(Counter::partitions_created);
    } else {
      Tenant::count(Counter::driver_errors, "a partition could not be made: out of GPU memory?");
    }
  });
}

}  // namespace

Place place_on(Stream& stream, cuda::Partition& partition, int priority) {
  for (const Place& place : stream.places) {
    if (place.partition == &partition && place.priority == priority) return place;
  }
  const std::lock_guard lock(stream.context.pool_mutex);
  const auto spare =
      std::ranges::find(partition.spares, priority, &cuda::Partition::Spare::priority);
  if (spare != partition.spares.end()) {
    stream.places.push_back({spare->stream, &partition, priority});
    partition.spares.erase(spare);
    return stream.places.back();
  }
  const cuda::RelaxedCapture relaxed;
  const cuda::Driver& d = cuda::driver();
  CUstream real = nullptr;
  CUresult made = CUDA_ERROR_NOT_SUPPORTED;
  if (partition.green != nullptr) {
    made = d.green_stream(&real, partition.green, CU_STREAM_NON_BLOCKING, priority);
  } else if (d.stream_create != nullptr) {
    const cuda::Current current(stream.context.handle);
    made = d.stream_create(&real, CU_STREAM_NON_BLOCKING, priority);
  }
  if (made != CUDA_SUCCESS) {
    Tenant::count(Counter::driver_errors, "a stream on a partition could not be made");
    return {};
  }
  stream.places.push_back({real, &partition, priority});
  return stream.places.back();
}

Place place_at(Stream& stream, const Target& target) {
  if (target.home) return {stream.home};
  cuda::Partition* at = &stream.context.whole;
  if (target.lo != at->lo || target.hi != at->hi) {
    const std::lock_guard lock(stream.context.pool_mutex);
    const cuda::PartitionPool& pool = stream.context.pool;
    at = pool.find(target.lo, target.hi);
    if (at == nullptr && pool.is_full()) {
      at = pool.nearest(target.lo, target.hi);
      if (at != nullptr) Tenant::count(Counter::near_partitions);
    }
    if (at == nullptr && GraphCopies::builds_at_launch()) {
      at = make_partition(stream.context, target.lo, target.hi);
    } else if (at == nullptr) {
      make_partition_soon(stream.context, target.lo, target.hi);
      Tenant::count(Counter::unbuilt_pieces);
    }
  }
  if (at == nullptr) return {stream.home};  // counted
  Place place = place_on(stream, *at, target.priority);
  if (place.partition == nullptr) return {stream.home};
  place.ranked = true;
  return place;
}

cuda::Partition* partition_of(Stream& stream, std::uint32_t lo, std::uint32_t hi) {
  const std::lock_guard lock(stream.context.pool_mutex);
  cuda::Partition* found = stream.context.pool.find(lo, hi);
  return found != nullptr ? found : make_partition(stream.context, lo, hi);
}

cuda::Partition* random_partition(Stream& stream) {
  const std::lock_guard lock(stream.context.pool_mutex);
  const cuda::PartitionPool& pool = stream.context.pool;
  if (!pool.is_full()) {
    const std::uint32_t units = Tenant::self().session().unit_count;
    const std::uint32_t lo = random_below(units);
    const std::uint32_t hi = lo + 1 + random_below(units - lo);
    cuda::Partition* found = pool.find(lo, hi);
    return found != nullptr ? found : make_partition(stream.context, lo, hi);
  }
  return pool.partitions()[random_below(static_cast<std::uint32_t>(pool.partitions().size()))]
      .get();
}

void give_up_places(Stream& stream) {
  const cuda::Current current(stream.context.handle);
  const cuda::RelaxedCapture relaxed;
  const std::lock_guard pool_lock(stream.context.pool_mutex);
  for (const Place& place : stream.places) {
    if (cuda::driver().stream_query(place.stream) == CUDA_SUCCESS) {
      place.partition->spares.push_back({place.stream, place.priority});
    } else {
      // Legal while it is busy: the driver lets its work end (cuStreamDestroy).
      cuda::driver().stream_destroy(place.stream);
    }
  }
  stream.places.clear();
  if (stream.event != nullptr) cuda::driver().event_destroy(stream.event);
  stream.event = nullptr;
}

}  // namespace fico::hook
