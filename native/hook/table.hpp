// The intercepted entries at run time: for each its real address and the wrapper that stands in.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

#include <atomic>
#include <cstddef>
#include <string_view>

namespace fico::hook {

enum class Entry : unsigned {
#define FICO_ENTRY(name, version, symbol, wrapper) symbol,
#include "hook/entries.def"
#undef FICO_ENTRY
  count
};

constexpr std::size_t kEntryCount = static_cast<std::size_t>(Entry::count);

template <Entry entry>
struct EntryTraits;
#define FICO_ENTRY(name, version, symbol, wrapper)       \
  template <>                                            \
  struct EntryTraits<Entry::symbol> {                    \
    using Pfn = PFN_##name##_##version;                  \
    static constexpr std::string_view kSymbol = #symbol; \
  };
#include "hook/entries.def"
#undef FICO_ENTRY

// Whether the default stream of this variant is the calling thread's.
template <Entry entry>
constexpr bool kPerThread = EntryTraits<entry>::kSymbol.ends_with("_ptsz") ||
                            EntryTraits<entry>::kSymbol.ends_with("_ptds");

struct EntryRow {
  const char* name;    // what cuGetProcAddress is asked for
  const char* symbol;  // what the driver exports
  void* wrapper;
};

extern const EntryRow kEntries[kEntryCount];
// The driver's own addresses; nullptr where this driver has no such entry. Read-only after load.
extern void* real_entries[kEntryCount];

// Finds the driver's entries, once. Safe to call at any time from any thread; false while no
// libcuda is loaded.
bool load_entries();

// The driver's own function, or nullptr if it has none.
template <Entry entry>
EntryTraits<entry>::Pfn real() {
  void* address = real_entries[static_cast<std::size_t>(entry)];
  if (address == nullptr && load_entries()) address = real_entries[static_cast<std::size_t>(entry)];
  return reinterpret_cast<EntryTraits<entry>::Pfn>(address);
}

// Calls the driver's own function. A driver without it answers as one that does not support it.
template <Entry entry, class... Arguments>
CUresult call_real(Arguments... arguments) {
  const auto function = real<entry>();
  return function != nullptr ? function(arguments...) : CUDA_ERROR_NOT_SUPPORTED;
}

// The wrapper that stands in for a driver address, or nullptr if it is not intercepted.
void* wrapper_of(void* address);
// Whether the table has an entry of this name, of any version.
bool is_intercepted_name(const char* name);

}  // namespace fico::hook
