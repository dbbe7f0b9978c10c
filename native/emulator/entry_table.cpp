// cuGetProcAddress, over the table of entries.
#include "emulator/entries.hpp"

#include <cuda.h>
#include <cudaTypedefs.h>

#include <cstring>
#include <map>
#include <string_view>
#include <type_traits>
#include <vector>

namespace {

struct Entry {
  int version;
  bool per_thread;
  void* symbol;
};

constexpr bool is_per_thread(std::string_view suffix) { return !suffix.empty(); }

// The arguments are names, which take no parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define FICO_CHECK(base, version, suffix, symbol)                                   \
  static_assert(std::is_same_v<decltype(&symbol), PFN_##base##_v##version##suffix>, \
                #symbol " is not declared as version " #version " of " #base);
#define FICO_NO_CHECK(base, version, suffix, symbol)
FICO_EMULATOR_ENTRIES(FICO_CHECK, FICO_NO_CHECK)

struct Row {
  std::string_view base;
  Entry entry;
};

using Entries = std::map<std::string_view, std::vector<Entry>>;

const Entries& entries() {
  static const auto& table = *[] {
    // An array and a loop: as a statement each they take the compiler four times as long.
    const Row rows[] = {
#define FICO_ROW(base, version, suffix, symbol) \
  {#base, {version, is_per_thread(#suffix), reinterpret_cast<void*>(&symbol)}},
        FICO_EMULATOR_ENTRIES(FICO_ROW, FICO_ROW)
#undef FICO_ROW
    };
    // NOLINTEND(bugprone-macro-parentheses)
    auto* made = new Entries;
    for (const Row& row : rows) (*made)[row.base].push_back(row.entry);
    return made;
  }();
  return table;
}

// The newest form that `version` knows. With per-thread default streams, that variant where there
// is one; its version is that of the variant itself, which may be newer.
const Entry* newest(const std::vector<Entry>& forms, int version, bool per_thread) {
  const Entry* best = nullptr;
  for (const auto& form : forms) {
    if (form.version > version || (form.per_thread && !per_thread)) continue;
    const bool better = !best || (form.per_thread && !best->per_thread) ||
                        (form.per_thread == best->per_thread && form.version > best->version);
    if (better) best = &form;
  }
  return best;
}

}  // namespace

CUresult cuGetProcAddress_v2(const char* name, void** address, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  constexpr cuuint64_t known_flags =
      CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
  if (!name || !address || (flags & ~known_flags) || flags == known_flags) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *address = nullptr;
  const auto report = [&](CUdriverProcAddressQueryResult result) {
    if (status) *status = result;
  };
  const auto forms = entries().find(name);
  if (forms == entries().end()) {
    report(CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    return CUDA_ERROR_NOT_FOUND;
  }
  const auto* form =
      newest(forms->second, version, flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
  if (!form) {
    report(CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    return CUDA_ERROR_NOT_FOUND;
  }
  report(CU_GET_PROC_ADDRESS_SUCCESS);
  *address = form->symbol;
  return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char* name, void** address, int version, cuuint64_t flags) {
  return cuGetProcAddress_v2(name, address, version, flags, nullptr);
}
