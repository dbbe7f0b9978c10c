#include "hook/kernels.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/driver.hpp"
#include "profile/table.hpp"

namespace fico::hook {
namespace {

// A kernel's address, and once that is known its name's hash with the flags below; entries are only
// ever added.
struct Entry {
  std::atomic<std::uintptr_t> key;
  std::atomic<std::uint64_t> facts;
};
constexpr std::size_t kTableSize = 16384;
constinit Entry known[kTableSize] = {};
constexpr std::uint64_t kWhole = 1;
constexpr std::uint64_t kReady = 2;
static_assert((kWhole | kReady) == profile::kNameFlags);

const std::vector<std::string>& name_parts() {
  static const auto* parts = [] {
    auto* list = new std::vector<std::string>{"ncclDevKernel", "ncclKernel", "nvshmem"};
    const char* more = std::getenv("FICO_WHOLE_GPU_KERNELS");
    std::string_view rest = more != nullptr ? more : "";
    while (!rest.empty()) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      if (comma != 0) list->emplace_back(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return list;
  }();
  return *parts;
}

std::uint64_t judge(CUfunction function) {
  const cuda::Driver& d = cuda::driver();
  const char* name = nullptr;
  // A launch takes a CUkernel in the place of a CUfunction, which has its own way to its name.
  const bool named =
      (d.function_name != nullptr && d.function_name(&name, function) == CUDA_SUCCESS) ||
      (d.kernel_name != nullptr &&
       d.kernel_name(&name, reinterpret_cast<CUkernel>(function)) == CUDA_SUCCESS);
  if (!named || name == nullptr) return kReady;
  const std::string_view text = name;
  const bool whole = std::ranges::any_of(name_parts(), [&](const std::string& part) {
    return text.find(part) != std::string_view::npos;
  });
  return profile::name_hash(text) | kReady | (whole ? kWhole : 0);
}

KernelFacts facts_from(std::uint64_t word) {
  return {word & ~profile::kNameFlags, (word & kWhole) != 0};
}

}  // namespace

KernelFacts kernel_of(CUfunction function) {
  const auto key = reinterpret_cast<std::uintptr_t>(function);
  std::size_t slot = (key >> 4U) * 0x9e37'79b9'7f4a'7c15U >> 40U;
  for (std::size_t probes = 0; probes < kTableSize; ++probes, ++slot) {
    Entry& entry = known[slot % kTableSize];
    std::uintptr_t present = entry.key.load(std::memory_order_relaxed);
    if (present != 0 && present != key) continue;
    const std::uint64_t facts = entry.facts.load(std::memory_order_acquire);
    if (present == key && facts != 0) return facts_from(facts);
    const std::uint64_t judged = judge(function);
    if (present == key || entry.key.compare_exchange_strong(present, key) || present == key) {
      entry.facts.store(judged, std::memory_order_release);
    }
    return facts_from(judged);
  }
  return facts_from(judge(function));
}

}  // namespace fico::hook
