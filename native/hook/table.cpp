#include "hook/table.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string_view>
#include <unordered_set>

#include "cuda/driver.hpp"
#include "hook/preload.hpp"
#include "hook/wrappers.hpp"

namespace fico::hook {

// One variable a wrapper, under a name that the assembler of exports.cpp can say.
#define FICO_ENTRY(name, version, symbol, wrapper)                                        \
  extern "C" __attribute__((visibility("hidden"))) void* const fico_wrapper_of_##symbol = \
      reinterpret_cast<void*>(static_cast<PFN_##name##_##version>(&wrapper<Entry::symbol>::call));
#include "hook/entries.def"
#undef FICO_ENTRY

const EntryRow kEntries[kEntryCount] = {
#define FICO_ENTRY(name, version, symbol, wrapper) {#name, #symbol, fico_wrapper_of_##symbol},
#include "hook/entries.def"
#undef FICO_ENTRY
};

void* real_entries[kEntryCount] = {};

namespace {

struct Pair {
  void* real;
  void* wrapper;
};

Pair pairs[kEntryCount];  // sorted by the real address
std::size_t pair_count = 0;
std::atomic<bool> loaded{false};

}  // namespace

bool load_entries() {
  if (loaded.load(std::memory_order_acquire)) return true;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (loaded.load(std::memory_order_relaxed)) return true;
  void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return false;
  for (std::size_t i = 0; i < kEntryCount; ++i) {
    real_entries[i] = real_dlsym(library, kEntries[i].symbol);
    if (real_entries[i] != nullptr) pairs[pair_count++] = {real_entries[i], kEntries[i].wrapper};
  }
  std::ranges::sort(pairs, pairs + pair_count, {}, &Pair::real);
  cuda::load_driver(library, &real_dlsym);
  loaded.store(true, std::memory_order_release);
  return true;
}

void* wrapper_of(void* address) {
  if (!load_entries()) return nullptr;
  const Pair* end = pairs + pair_count;
  const Pair* found =
      std::ranges::lower_bound(static_cast<const Pair*>(pairs), end, address, {}, &Pair::real);
  return found != end && found->real == address ? found->wrapper : nullptr;
}

bool is_intercepted_name(const char* name) {
  static const auto* names = [] {
    auto* set = new std::unordered_set<std::string_view>;
    for (const EntryRow& row : kEntries) set->insert(row.name);
    return set;
  }();
  return names->contains(name);
}

}  // namespace fico::hook
