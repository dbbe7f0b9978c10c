#include "collector/cupti.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <type_traits>

namespace fico::collector {
namespace {

constexpr const char* kName = "libcupti.so.13";

void* open_library() {
  if (void* present = dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return present;
  const char* path = std::getenv("FICO_CUPTI");  // NOLINT(concurrency-mt-unsafe)
  if (path != nullptr && *path != 0) {
    if (void* given = dlopen(path, RTLD_NOW)) return given;
  }
  return dlopen(kName, RTLD_NOW);
}

}  // namespace

const Cupti* Cupti::load(const char** why) {
  static Cupti cupti{};
  void* library = open_library();
  if (library == nullptr) {
    *why = "libcupti.so.13 was not found: install nvidia-cuda-cupti or a CUDA 13 toolkit";
    return nullptr;
  }
  bool whole = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    whole = whole && function != nullptr;
  };
  find(cupti.register_callbacks, "cuptiActivityRegisterCallbacks");
  find(cupti.enable, "cuptiActivityEnable");
  find(cupti.disable, "cuptiActivityDisable");
  find(cupti.flush, "cuptiActivityFlushAll");
  find(cupti.set_attribute, "cuptiActivitySetAttribute");
  find(cupti.finalize, "cuptiFinalize");
  find(cupti.next_record, "cuptiActivityGetNextRecord");
  find(cupti.dropped_records, "cuptiActivityGetNumDroppedRecords");
  find(cupti.result_string, "cuptiGetResultString");
  if (!whole) {
    *why = "libcupti.so.13 lacks functions of CUDA 13.0: use its matching version";
    return nullptr;
  }
  return &cupti;
}

}  // namespace fico::collector
