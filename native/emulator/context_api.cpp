// Contexts: the entry points.
#include <algorithm>

#include "emulator/capture.hpp"
#include "emulator/context.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

constexpr unsigned kNewestApiVersion = 13000;

CUresult create(CUcontext* out, unsigned flags, CUdevice device, unsigned api_version) {
  return api([&](Call& call) {
    require_value(out != nullptr && (flags & ~static_cast<unsigned>(CU_CTX_FLAGS_MASK)) == 0);
    require(device == 0, CUDA_ERROR_INVALID_DEVICE);
    check_unsafe_call(call.rt);
    auto context = std::make_unique<Context>();
    context->flags = flags;
    context->api_version = api_version;
    open_context(call.rt, *context);
    *out = call.rt.contexts.add<CUcontext>(std::move(context));
    this_thread().contexts.push_back(*out);
    return CUDA_SUCCESS;
  });
}

std::size_t default_limit(CUlimit limit) {
  switch (limit) {
    case CU_LIMIT_STACK_SIZE:
      return 1024;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
      return 7U << 20U;
    case CU_LIMIT_MALLOC_HEAP_SIZE:
      return 8U << 20U;
    default:
      return 0;
  }
}

}  // namespace
}  // namespace fico::emulator

CUresult cuCtxCreate(CUcontext* context, unsigned flags, CUdevice device) {
  return create(context, flags, device, 3010);
}

CUresult cuCtxCreate_v2(CUcontext* context, unsigned flags, CUdevice device) {
  return create(context, flags, device, 3020);
}

CUresult cuCtxCreate_v3(CUcontext* context, CUexecAffinityParam*, int params, unsigned flags,
                        CUdevice device) {
  // Execution affinity needs an MPS of Volta's kind, which is not emulated.
  if (params) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  return create(context, flags, device, 11040);
}

CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams* params, unsigned flags,
                        CUdevice device) {
  if (params && params->numExecAffinityParams) return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
  return create(context, flags, device, kNewestApiVersion);
}

CUresult cuCtxDestroy_v2(CUcontext handle) {
  return api([&](Call& call) {
    auto& context = call.rt.contexts.get(handle, CUDA_ERROR_INVALID_CONTEXT);
    require(context.kind == Context::Kind::kCreated, CUDA_ERROR_INVALID_CONTEXT);
    call.wait(all_work(call.rt, context));
    if (auto* still = call.rt.contexts.find(handle)) {
      close_context(call.rt, *still);
      call.rt.contexts.remove(handle);
    }
    auto& stack = this_thread().contexts;
    if (!stack.empty() && stack.back() == handle) stack.pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  return api([&](Call& call) {
    require(handle != nullptr, CUDA_ERROR_INVALID_CONTEXT);
    context_of(call.rt, handle);
    this_thread().contexts.push_back(handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxPopCurrent_v2(CUcontext* handle) {
  return api([&](Call&) {
    auto& stack = this_thread().contexts;
    require(!stack.empty(), CUDA_ERROR_INVALID_CONTEXT);
    if (handle) *handle = stack.back();
    stack.pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCurrent(CUcontext handle) {
  return api([&](Call& call) {
    if (handle) context_of(call.rt, handle);
    auto& stack = this_thread().contexts;
    if (!stack.empty()) stack.pop_back();
    if (handle) stack.push_back(handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCurrent(CUcontext* handle) {
  return api([&](Call&) {
    require_value(handle != nullptr);
    const auto& stack = this_thread().contexts;
    *handle = stack.empty() ? nullptr : stack.back();
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext handle) {
  return api([&](Call& call) {
    require_value(device != nullptr);
    context_of(call.rt, handle);
    *device = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevice(CUdevice* device) { return cuCtxGetDevice_v2(device, nullptr); }

CUresult cuCtxGetFlags(unsigned* flags) {
  return api([&](Call& call) {
    require_value(flags != nullptr);
    *flags = current_context(call.rt).flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetFlags(unsigned flags) {
  return api([&](Call& call) {
    current_context(call.rt).flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
  return api([&](Call& call) {
    require_value(id != nullptr);
    *id = context_of(call.rt, handle).id;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetApiVersion(CUcontext handle, unsigned* version) {
  return api([&](Call& call) {
    require_value(version != nullptr);
    const auto& context = context_of(call.rt, handle);
    *version = context.api_version ? context.api_version : 3020;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSynchronize_v2(CUcontext handle) {
  return api([&](Call& call) {
    auto& context = context_of(call.rt, handle);
    check_context_wide(call.rt, context);
    call.wait(awaited_work(call.rt, context));
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSynchronize() { return cuCtxSynchronize_v2(nullptr); }

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return api([&](Call& call) {
    current_context(call.rt);
    if (least) *least = kLeastPriority;
    if (greatest) *greatest = kGreatestPriority;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetLimit(CUlimit limit, std::size_t value) {
  return api([&](Call& call) {
    require(limit < CU_LIMIT_MAX, CUDA_ERROR_UNSUPPORTED_LIMIT);
    current_context(call.rt).limits[limit] = value;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetLimit(std::size_t* value, CUlimit limit) {
  return api([&](Call& call) {
    require_value(value != nullptr);
    require(limit < CU_LIMIT_MAX, CUDA_ERROR_UNSUPPORTED_LIMIT);
    const auto& limits = current_context(call.rt).limits;
    const auto set = limits.find(limit);
    *value = set == limits.end() ? default_limit(limit) : set->second;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
  return api([&](Call& call) {
    require_value(config != nullptr);
    current_context(call.rt);
    *config = CU_FUNC_CACHE_PREFER_NONE;
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxSetCacheConfig(CUfunc_cache) {
  return api([&](Call& call) {
    current_context(call.rt);
    return CUDA_SUCCESS;
  });
}
