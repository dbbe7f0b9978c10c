#include "hook/coverage.hpp"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "fico_known_entries.hpp"
#include "hook/preload.hpp"
#include "hook/table.hpp"
#include "hook/tenant.hpp"

namespace fico::hook {
namespace {

// Counts each text once.
void count_once(Counter counter, const char* format, const char* what) {
  static std::mutex mutex;
  static auto* seen = new std::set<std::string>;
  char note[arena::kNoteBytes];
  std::snprintf(note, sizeof note, format, what);
  const std::lock_guard lock(mutex);
  if (seen->insert(note).second) Tenant::count(counter, note);
}

bool is_known_name(const char* name) {
  return std::ranges::binary_search(kKnownEntries, std::string_view(name));
}

// A version suffix is part of the symbol, not of the name that cuGetProcAddress is asked for.
std::string without_suffixes(std::string_view symbol) {
  for (const std::string_view suffix : {"_ptsz", "_ptds"}) {
    if (symbol.ends_with(suffix)) symbol.remove_suffix(suffix.size());
  }
  const std::size_t at = symbol.rfind("_v");
  if (at != std::string_view::npos && at + 3 == symbol.size()) symbol.remove_suffix(3);
  return std::string(symbol);
}

// The relocations of one library that were bound to the driver or to the C library's dlsym
// directly.
struct Library {
  const dl_phdr_info* info;
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;

  void* resolve(ElfW(Addr) address) const {
    // glibc relocates the pointers of the dynamic section; other linkers leave offsets.
    return reinterpret_cast<void*>(address < info->dlpi_addr ? info->dlpi_addr + address : address);
  }

  void scan(const ElfW(Rela) * relocations, std::size_t bytes) const {
    for (std::size_t i = 0; i < bytes / sizeof(ElfW(Rela)); ++i) {
      const ElfW(Sym) & symbol = symbols[ELF64_R_SYM(relocations[i].r_info)];
      const char* name = strings + symbol.st_name;
      const bool is_dlsym = std::strcmp(name, "dlsym") == 0;
      if (symbol.st_shndx != SHN_UNDEF || (!is_dlsym && std::strncmp(name, "cu", 2) != 0)) continue;
      const auto type = ELF64_R_TYPE(relocations[i].r_info);
#if defined(__x86_64__)
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) continue;
#else
      if (type != R_AARCH64_JUMP_SLOT && type != R_AARCH64_GLOB_DAT) continue;
#endif
      void* bound = *reinterpret_cast<void**>(info->dlpi_addr + relocations[i].r_offset);
      if (is_dlsym ? bound == dlsym_of_libc() : wrapper_of(bound) != nullptr) {
        count_once(Counter::uncovered_paths,
                   is_dlsym ? "%s looks symbols up past the preload"
                            : "%s calls the driver past the preload",
                   info->dlpi_name);
        return;
      }
    }
  }
};

int scan_library(dl_phdr_info* info, std::size_t, void*) {
  if (info->dlpi_name == nullptr || info->dlpi_name[0] == '\0') return 0;
  if (std::strstr(info->dlpi_name, "libfico.so") != nullptr) return 0;
  Library library{info};
  const ElfW(Rela)* plt = nullptr;
  const ElfW(Rela)* rela = nullptr;
  std::size_t plt_bytes = 0;
  std::size_t rela_bytes = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* entry =
        reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; ++entry) {
      void* address = library.resolve(entry->d_un.d_ptr);
      if (entry->d_tag == DT_SYMTAB) library.symbols = static_cast<const ElfW(Sym)*>(address);
      if (entry->d_tag == DT_STRTAB) library.strings = static_cast<const char*>(address);
      if (entry->d_tag == DT_JMPREL) plt = static_cast<const ElfW(Rela)*>(address);
      if (entry->d_tag == DT_RELA) rela = static_cast<const ElfW(Rela)*>(address);
      if (entry->d_tag == DT_PLTRELSZ) plt_bytes = entry->d_un.d_val;
      if (entry->d_tag == DT_RELASZ) rela_bytes = entry->d_un.d_val;
    }
  }
  if (library.symbols == nullptr || library.strings == nullptr) return 0;
  if (plt != nullptr) library.scan(plt, plt_bytes);
  if (rela != nullptr) library.scan(rela, rela_bytes);
  return 0;
}

}  // namespace

void* covered(const char* name, void* address) {
  if (void* wrapper = wrapper_of(address); wrapper != nullptr) return wrapper;
  const std::string base = without_suffixes(name);
  if (is_intercepted_name(base.c_str()) && std::strcmp(base.c_str(), name) == 0) {
    count_once(Counter::uncovered_entries, "%s: this version of the entry is not covered", name);
  } else if (!is_known_name(base.c_str())) {
    count_once(Counter::uncovered_entries, "%s: the entry is newer than this library", name);
  }
  return address;
}

void scan_coverage() {
  if (!load_entries()) return;
  static unsigned long long last_loaded = 0;  // the keeper is the only caller
  unsigned long long now_loaded = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* loaded) {
        *static_cast<unsigned long long*>(loaded) = info->dlpi_adds;
        return 1;
      },
      &now_loaded);
  if (now_loaded == last_loaded) return;
  last_loaded = now_loaded;
  dl_iterate_phdr(&scan_library, nullptr);
}

}  // namespace fico::hook
