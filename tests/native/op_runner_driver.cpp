#include "op_runner_driver.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#define FICO_TEXT_OF(name) #name
#define FICO_SYMBOL(name) FICO_TEXT_OF(name)

#ifdef FICO_OP_RUNNER_LINKED
// cuda.h declares these only for a whole translation unit with per-thread default streams.
#define FICO_PASTE(name, suffix) name##suffix
#define FICO_NOTHING(name, version)
#define FICO_DECLARE_PTSZ(name, version) extern "C" decltype(name) FICO_PASTE(name, _ptsz);
#define FICO_DECLARE_PTDS(name, version) extern "C" decltype(name) FICO_PASTE(name, _ptds);
FICO_DRIVER_ENTRIES(FICO_NOTHING, FICO_DECLARE_PTSZ, FICO_DECLARE_PTDS)
#endif

namespace fico::testing {
namespace {

// The version that a static run-time library of CUDA 12.8 asks for. From 13.0 on cuCtxSynchronize
// has an argument, which cuda.h does not know under that name.
constexpr int kRuntimeVersion = 12080;

[[noreturn]] void give_up(const char* what, const char* why) {
  std::fprintf(stderr, "op_runner: %s: %s\n", what, why);
  std::exit(1);
}

void* open_library() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) give_up("libcuda.so.1", dlerror());
  return library;
}

// A way to find one entry, by its name in cuda.h and by its symbol.
struct Finder {
  enum class Kind { kDlsym, kProc1, kProc2 };
  using Proc1 = CUresult (*)(const char*, void**, int, cuuint64_t);
  using Proc2 = decltype(&::cuGetProcAddress);

  Kind kind;
  void* library = open_library();
  Proc1 proc1 = nullptr;
  Proc2 proc2 = nullptr;

  explicit Finder(Kind wanted) : kind(wanted) {
    if (kind == Kind::kProc1) proc1 = reinterpret_cast<Proc1>(symbol("cuGetProcAddress"));
    if (kind == Kind::kProc2) proc2 = reinterpret_cast<Proc2>(symbol("cuGetProcAddress_v2"));
  }

  void* symbol(const std::string& name) const {
    void* found = dlsym(library, name.c_str());
    if (found == nullptr) give_up(name.c_str(), "not in libcuda.so.1");
    return found;
  }

  void* find(const char* name, const char* exported, const char* suffix, int version) const {
    if (kind == Kind::kDlsym) return symbol(std::string(exported) + suffix);
    const cuuint64_t flags = *suffix == '\0' ? CU_GET_PROC_ADDRESS_LEGACY_STREAM
                                             : CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    void* found = nullptr;
    CUresult result = CUDA_SUCCESS;
    if (kind == Kind::kProc1) {
      result = proc1(name, &found, version, flags);
    } else {
      CUdriverProcAddressQueryResult status{};
      result = proc2(name, &found, kRuntimeVersion, flags, &status);
    }
    if (result != CUDA_SUCCESS || found == nullptr) give_up(name, "not given by cuGetProcAddress");
    return found;
  }

  template <typename F>
  void set(F& legacy, F& per_thread, const char* name, const char* exported, const char* suffix,
           int version) const {
    legacy = reinterpret_cast<F>(find(name, exported, "", version));
    per_thread = reinterpret_cast<F>(find(name, exported, suffix, version));
  }
};

Driver find_all(const Finder& finder) {
  Driver driver;
#define FICO_FIND_PLAIN(name, version)                                                           \
  finder.set(driver.legacy.fico_##name, driver.per_thread.fico_##name, #name, FICO_SYMBOL(name), \
             "", version);
#define FICO_FIND_PTSZ(name, version)                                                            \
  finder.set(driver.legacy.fico_##name, driver.per_thread.fico_##name, #name, FICO_SYMBOL(name), \
             "_ptsz", version);
#define FICO_FIND_PTDS(name, version)                                                            \
  finder.set(driver.legacy.fico_##name, driver.per_thread.fico_##name, #name, FICO_SYMBOL(name), \
             "_ptds", version);
  FICO_DRIVER_ENTRIES(FICO_FIND_PLAIN, FICO_FIND_PTSZ, FICO_FIND_PTDS)
  return driver;
}

Driver linked() {
#ifdef FICO_OP_RUNNER_LINKED
  Driver driver;
#define FICO_LINK_PLAIN(name, version) \
  driver.legacy.fico_##name = &::name; \
  driver.per_thread.fico_##name = &::name;
#define FICO_LINK_PTSZ(name, version)  \
  driver.legacy.fico_##name = &::name; \
  driver.per_thread.fico_##name = &FICO_PASTE(::name, _ptsz);
#define FICO_LINK_PTDS(name, version)  \
  driver.legacy.fico_##name = &::name; \
  driver.per_thread.fico_##name = &FICO_PASTE(::name, _ptds);
  FICO_DRIVER_ENTRIES(FICO_LINK_PLAIN, FICO_LINK_PTSZ, FICO_LINK_PTDS)
  return driver;
#else
  give_up("--reach linked", "only op_runner_linked has the driver's symbols");
#endif
}

}  // namespace

Driver reach_driver(const std::string& reach) {
  if (reach == "linked") return linked();
  if (reach == "dlsym") return find_all(Finder(Finder::Kind::kDlsym));
  if (reach == "proc1") return find_all(Finder(Finder::Kind::kProc1));
  if (reach == "proc2") return find_all(Finder(Finder::Kind::kProc2));
  give_up(reach.c_str(), "--reach takes dlsym, proc1, proc2 or linked");
}

}  // namespace fico::testing
