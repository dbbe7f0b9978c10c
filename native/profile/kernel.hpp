// What is known of a kernel before it is launched: one launch of a profiled request. The facts come
// from a profile file (src/fico/records/profile.py has the same words); policies, the device model
// and the preloaded library read them. Plain data, trivially copyable, for shared memory.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

namespace fico::profile {

constexpr std::uint32_t kMaxUnits = 64;

// How critical a kernel is. Dominant: latency falls strongly with more SMs and it is a large part
// of the request. Insensitive: nearly no gain from more SMs. Neutral: between, or not known.
enum class Class : std::uint8_t { kNeutral = 0, kDominant = 1, kInsensitive = 2 };

// What limits it on all SMs: the work of the SMs, memory bandwidth, or neither (too short or too
// few blocks).
enum class Bound : std::uint8_t { kLatency = 0, kCompute = 1, kMemory = 2 };

// What tenants share beside the SMs, in the order of the arrays below.
enum class Resource : std::uint8_t { kCompute = 0, kMemory = 1, kL2 = 2 };
constexpr std::uint32_t kResources = 3;

// What the blocks on one SM share: threads, registers, shared memory, places for blocks.
constexpr std::uint32_t kSmResources = 4;

// Clusters of so many blocks need a unit whose SMs are all of one GPC.
constexpr std::uint32_t kLargeCluster = 4;

struct Kernel {
  // Duration alone on units [0, n), index n - 1; as long as the device has units, the rest 0. Never
  // grows with n.
  float duration_us[kMaxUnits];
  // From the end of the launch before it to its start, alone on all units: launch latency where the
  // GPU is the limit, the wait for the next launch where the program is.
  float gap_us;
  // Thread blocks, and how many of them one SM holds at once.
  std::uint32_t blocks;
  std::uint32_t blocks_per_sm;
  // The part of its time in large clusters: of one kernel 0 or 1.
  float clustered;
  // Relative growth of the duration beside a neighbour that uses a resource fully (0.2: 20%
  // slower), measured on half of the units with the neighbour on the others.
  float sensitivity[kResources];
  // The part of a resource it uses itself on half of the units, 0 to 1.
  float pressure[kResources];
  // The parts of an SM's resources that `blocks_per_sm` blocks take together, 0 to 1
  // (footprint.hpp): what they leave, another kernel's blocks may take. All 0: not known, taken for
  // all of them.
  float footprint[kSmResources];
  // Fewest units at which it is at most 5% slower than on all of them.
  std::uint16_t right_units;
  Class kernel_class;
  Bound bound;
};
static_assert(std::is_trivially_copyable_v<Kernel>);

// One kind of request: its launches in order. `from_graph`: they come as one CUDA graph, so that
// the program is never late with the next one.
struct Trace {
  std::vector<Kernel> kernels;
  bool from_graph = true;
};

}  // namespace fico::profile
