#include "hook/kernels.hpp"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/driver.hpp"

namespace fico::hook {
namespace {

// A kernel's address with its answer in the lowest bit; entries are only ever added.
constexpr std::size_t kTableSize = 16384;
constinit std::atomic<std::uintptr_t> known[kTableSize] = {};

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

bool judge(CUfunction function) {
  const cuda::Driver& d = cuda::driver();
  const char* name = nullptr;
  // A launch takes a CUkernel in the place of a CUfunction, which has its own way to its name.
  const bool named =
      (d.function_name != nullptr && d.function_name(&name, function) == CUDA_SUCCESS) ||
      (d.kernel_name != nullptr &&
       d.kernel_name(&name, reinterpret_cast<CUkernel>(function)) == CUDA_SUCCESS);
  if (!named || name == nullptr) return false;
  const std::string_view text = name;
  for (const std::string& part : name_parts()) {
    if (text.find(part) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

bool needs_whole_gpu(CUfunction function) {
  const auto key = reinterpret_cast<std::uintptr_t>(function);
  std::size_t slot = (key >> 4U) * 0x9e37'79b9'7f4a'7c15U >> 40U;
  for (std::size_t probes = 0; probes < kTableSize; ++probes, ++slot) {
    std::atomic<std::uintptr_t>& entry = known[slot % kTableSize];
    std::uintptr_t present = entry.load(std::memory_order_relaxed);
    if ((present & ~std::uintptr_t{1}) == key) return (present & 1U) != 0;
    if (present != 0) continue;
    const bool whole = judge(function);
    entry.compare_exchange_strong(present, key | (whole ? 1U : 0U));
    return whole;
  }
  return false;
}

}  // namespace fico::hook
