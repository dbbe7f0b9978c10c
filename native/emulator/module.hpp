// Modules, libraries, functions and kernels.
#pragma once

#include <cuda.h>

#include <map>
#include <memory>
#include <string>

#include "emulator/kernel_image.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {

/// A module of a context, or a library, which belongs to none.
struct Module {
  Context* context = nullptr;
  ModuleImage image;
  bool is_library = false;
  std::map<std::string, std::uint64_t> globals;  // address by name
};

/// A CUfunction, or a CUkernel where it is of a library. They may be launched alike.
struct Function {
  Module* module = nullptr;
  std::shared_ptr<const KernelImage> image;
  std::map<CUfunction_attribute, int> attributes;
  CUfunction handle() { return reinterpret_cast<CUfunction>(this); }
};

/// INVALID_HANDLE where it is neither a function nor a kernel.
inline Function& function_of(Runtime& rt, const void* handle) { return rt.functions.get(handle); }

}  // namespace fico::emulator
