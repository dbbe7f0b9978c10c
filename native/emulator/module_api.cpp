// Modules, libraries, functions and kernels: the entry points.
#include "emulator/module.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "device/h200.hpp"
#include "emulator/capture.hpp"
#include "emulator/context.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

std::unique_ptr<Module> load(std::string_view text) {
  auto module = std::make_unique<Module>();
  std::string error;
  if (!parse_module(text, module->image, error)) {
    std::fprintf(stderr, "fico emulator: a module cannot be loaded: %s\n", error.c_str());
    fail(CUDA_ERROR_INVALID_IMAGE);
  }
  return module;
}

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), CUDA_ERROR_FILE_NOT_FOUND);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Only the first bytes are looked at before it is known to be text: an image may be a cubin.
std::string_view as_text(const void* image) {
  constexpr std::string_view magic = "fico-emulated-module";
  const auto* text = static_cast<const char*>(image);
  if (std::strncmp(text, magic.data(), magic.size()) != 0) return {};
  return text;
}

CUresult load_module(CUmodule* out, std::string_view text) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    auto& context = current_context(call.rt);
    check_unsafe_call(call.rt);
    auto module = load(text);
    module->context = context.root;
    *out = call.rt.modules.add<CUmodule>(std::move(module));
    return CUDA_SUCCESS;
  });
}

CUresult load_library(CUlibrary* out, std::string_view text) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    auto module = load(text);
    module->is_library = true;
    *out = call.rt.modules.add<CUlibrary>(std::move(module));
    return CUDA_SUCCESS;
  });
}

Module& module_of(Runtime& rt, const void* handle, bool library) {
  auto& module = rt.modules.get(handle);
  require(module.is_library == library, CUDA_ERROR_INVALID_HANDLE);
  return module;
}

// The handle of a kernel is the same each time it is asked for.
CUfunction function_in(Runtime& rt, Module& module, const char* name) {
  require_value(name != nullptr);
  const auto& kernels = module.image.kernels;
  const auto kernel = std::ranges::find(kernels, name, [](const auto& k) { return k->name; });
  require(kernel != kernels.end(), CUDA_ERROR_NOT_FOUND);
  Function* known = nullptr;
  rt.functions.for_each([&](Function& f) {
    if (f.module == &module && f.image == *kernel) known = &f;
  });
  if (known) return known->handle();
  auto function = std::make_unique<Function>();
  function->module = &module;
  function->image = *kernel;
  return rt.functions.add<CUfunction>(std::move(function));
}

CUresult find_global(CUdeviceptr* address, std::size_t* bytes, const void* handle, bool library,
                     const char* name) {
  return api([&](Call& call) {
    require_value(name != nullptr);
    auto& module = module_of(call.rt, handle, library);
    const auto& globals = module.image.globals;
    const auto global = std::ranges::find(globals, name, &GlobalImage::name);
    require(global != globals.end(), CUDA_ERROR_NOT_FOUND);
    auto& known = module.globals[name];
    if (!known) {
      auto& context = module.context ? *module.context : *current_context(call.rt).root;
      const auto base = memory().allocate(global->bytes, MemoryKind::kGlobal, context.handle());
      require(base.has_value(), CUDA_ERROR_OUT_OF_MEMORY);
      known = *base;
    }
    if (address) *address = known;
    if (bytes) *bytes = global->bytes;
    return CUDA_SUCCESS;
  });
}

CUresult unload(const void* handle, bool library) {
  return api([&](Call& call) {
    check_unsafe_call(call.rt);
    auto& module = module_of(call.rt, handle, library);
    call.wait(module.context ? all_work(call.rt, *module.context) : std::vector<OpRef>{});
    for (const auto& [name, base] : module.globals) {
      memory().release(base, [](MemoryKind kind) { return kind == MemoryKind::kGlobal; });
    }
    call.rt.functions.remove_if([&](const Function& f) { return f.module == &module; });
    call.rt.modules.remove(handle);
    return CUDA_SUCCESS;
  });
}

int function_attribute(const Function& function, CUfunction_attribute attribute) {
  if (const auto set = function.attributes.find(attribute); set != function.attributes.end()) {
    return set->second;
  }
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return device::kMaxThreadsPerBlock;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      return static_cast<int>(function.image->reported_registers());
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      return static_cast<int>(function.image->shared_bytes);
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      return 90;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      return 48 * 1024;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
      return -1;
    default:
      return 0;
  }
}

CUresult get_attribute(int* value, CUfunction_attribute attribute, const void* handle) {
  return api([&](Call& call) {
    require_value(value != nullptr && attribute < CU_FUNC_ATTRIBUTE_MAX);
    *value = function_attribute(function_of(call.rt, handle), attribute);
    return CUDA_SUCCESS;
  });
}

CUresult set_attribute(const void* handle, CUfunction_attribute attribute, int value) {
  return api([&](Call& call) {
    require_value(attribute < CU_FUNC_ATTRIBUTE_MAX);
    function_of(call.rt, handle).attributes[attribute] = value;
    return CUDA_SUCCESS;
  });
}

CUresult get_name(const char** name, const void* handle) {
  return api([&](Call& call) {
    require_value(name != nullptr);
    *name = function_of(call.rt, handle).image->name.c_str();
    return CUDA_SUCCESS;
  });
}

CUresult get_param_info(const void* handle, std::size_t index, std::size_t* offset,
                        std::size_t* size) {
  return api([&](Call& call) {
    const auto& image = *function_of(call.rt, handle).image;
    require_value(offset != nullptr && index < image.param_sizes.size());
    *offset = image.param_offsets[index];
    if (size) *size = image.param_sizes[index];
    return CUDA_SUCCESS;
  });
}

}  // namespace
}  // namespace fico::emulator

CUresult cuModuleLoad(CUmodule* module, const char* path) {
  if (!path) return CUDA_ERROR_INVALID_VALUE;
  std::string text;
  try {
    text = read_file(path);
  } catch (const Failure& failure) {
    return failure.code;
  }
  return load_module(module, text);
}

CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return image ? load_module(module, as_text(image)) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned, CUjit_option*, void**) {
  return cuModuleLoadData(module, image);
}

CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return cuModuleLoadData(module, image);
}

CUresult cuModuleUnload(CUmodule module) { return unload(module, false); }

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  return api([&](Call& call) {
    require_value(function != nullptr);
    *function = function_in(call.rt, module_of(call.rt, module, false), name);
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleGetFunctionCount(unsigned* count, CUmodule module) {
  return api([&](Call& call) {
    require_value(count != nullptr);
    *count = static_cast<unsigned>(module_of(call.rt, module, false).image.kernels.size());
    return CUDA_SUCCESS;
  });
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, std::size_t* bytes, CUmodule module,
                              const char* name) {
  return find_global(address, bytes, module, false, name);
}

CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  return api([&](Call&) {
    require_value(mode != nullptr);
    *mode = CU_MODULE_EAGER_LOADING;
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryLoadData(CUlibrary* library, const void* image, CUjit_option*, void**, unsigned,
                           CUlibraryOption*, void**, unsigned) {
  return image ? load_library(library, as_text(image)) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuLibraryUnload(CUlibrary library) { return unload(library, true); }

CUresult cuLibraryGetKernel(CUkernel* kernel, CUlibrary library, const char* name) {
  return api([&](Call& call) {
    require_value(kernel != nullptr);
    *kernel =
        reinterpret_cast<CUkernel>(function_in(call.rt, module_of(call.rt, library, true), name));
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryGetKernelCount(unsigned* count, CUlibrary library) {
  return api([&](Call& call) {
    require_value(count != nullptr);
    *count = static_cast<unsigned>(module_of(call.rt, library, true).image.kernels.size());
    return CUDA_SUCCESS;
  });
}

CUresult cuLibraryGetGlobal(CUdeviceptr* address, std::size_t* bytes, CUlibrary library,
                            const char* name) {
  return find_global(address, bytes, library, true, name);
}

CUresult cuLibraryGetModule(CUmodule*, CUlibrary) { return CUDA_ERROR_NOT_SUPPORTED; }

CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  return api([&](Call& call) {
    require_value(function != nullptr);
    current_context(call.rt);
    auto& found = function_of(call.rt, kernel);
    require(found.module->is_library, CUDA_ERROR_INVALID_HANDLE);
    *function = found.handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuKernelGetLibrary(CUlibrary* library, CUkernel kernel) {
  return api([&](Call& call) {
    require_value(library != nullptr);
    *library = reinterpret_cast<CUlibrary>(function_of(call.rt, kernel).module);
    return CUDA_SUCCESS;
  });
}

CUresult cuFuncGetModule(CUmodule* module, CUfunction function) {
  return api([&](Call& call) {
    require_value(module != nullptr);
    *module = reinterpret_cast<CUmodule>(function_of(call.rt, function).module);
    return CUDA_SUCCESS;
  });
}

CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction function) {
  return get_attribute(value, attribute, function);
}
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  return set_attribute(function, attribute, value);
}
CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute, CUkernel kernel,
                              CUdevice) {
  return get_attribute(value, attribute, kernel);
}
CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel,
                              CUdevice) {
  return set_attribute(kernel, attribute, value);
}
CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache) {
  return api([&](Call& call) {
    function_of(call.rt, function);
    return CUDA_SUCCESS;
  });
}
CUresult cuFuncGetName(const char** name, CUfunction function) { return get_name(name, function); }
CUresult cuKernelGetName(const char** name, CUkernel kernel) { return get_name(name, kernel); }
CUresult cuFuncGetParamInfo(CUfunction function, std::size_t index, std::size_t* offset,
                            std::size_t* size) {
  return get_param_info(function, index, offset, size);
}
CUresult cuKernelGetParamInfo(CUkernel kernel, std::size_t index, std::size_t* offset,
                              std::size_t* size) {
  return get_param_info(kernel, index, offset, size);
}
CUresult cuFuncIsLoaded(CUfunctionLoadingState* state, CUfunction function) {
  return api([&](Call& call) {
    require_value(state != nullptr);
    function_of(call.rt, function);
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
  });
}
CUresult cuFuncLoad(CUfunction function) {
  return api([&](Call& call) {
    function_of(call.rt, function);
    return CUDA_SUCCESS;
  });
}
