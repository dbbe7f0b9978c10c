// Allocation and what is known of a pointer: the entry points.
#include <algorithm>
#include <cstring>

#include "device/h200.hpp"
#include "emulator/capture.hpp"
#include "emulator/context.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

std::uint64_t allocate(Call& call, std::size_t bytes, MemoryKind kind, unsigned host_flags = 0) {
  require_value(bytes > 0);
  auto& context = current_context(call.rt);
  check_unsafe_call(call.rt);
  const auto base = memory().allocate(bytes, kind, context.root->handle(), host_flags);
  if (!base) fail(CUDA_ERROR_OUT_OF_MEMORY);
  return *base;
}

// Memory is given back when nothing can use it any more: the call waits for the whole context.
template <class Allowed>
CUresult release(std::uint64_t address, CUresult unknown, Allowed allowed) {
  return api([&](Call& call) {
    if (!address) return CUDA_SUCCESS;
    check_unsafe_call(call.rt);
    const auto found = memory().find(address);
    require(found && found->base == address && allowed(found->kind), unknown);
    if (auto* owner = call.rt.contexts.find(found->context)) {
      call.wait(awaited_work(call.rt, *owner->root));
    }
    require(memory().release(address, allowed), unknown);
    return CUDA_SUCCESS;
  });
}

bool is_on_device(MemoryKind kind) {
  return kind != MemoryKind::kPinned && kind != MemoryKind::kRegistered;
}

// One attribute of a pointer; false where it is not known for such memory.
bool read_attribute(Runtime& rt, CUpointer_attribute attribute, const Allocation& found,
                    std::uint64_t address, void* data) {
  const auto put = [&](auto value) {
    std::memcpy(data, static_cast<const void*>(&value), sizeof(decltype(value)));
    return true;
  };
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return put(found.context);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return put(is_on_device(found.kind) ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return put(CUdeviceptr{address});
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (is_on_device(found.kind) && found.kind != MemoryKind::kManaged) return false;
      return put(pointer_to<void>(address));
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      return put(found.id);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return put(unsigned{found.kind == MemoryKind::kManaged});
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return put(CUdevice{});
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return put(CUdeviceptr{found.base});
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return put(found.bytes);
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return put(char{1});
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
      return put(char{0});
    default:
      (void)rt;
      return false;
  }
}

}  // namespace
}  // namespace fico::emulator

CUresult cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
  return api([&](Call& call) {
    require_value(free != nullptr && total != nullptr);
    current_context(call.rt);
    const auto mine = memory().used_bytes();
    const auto room = [](std::uint64_t whole, std::uint64_t used) {
      return whole - std::min(whole, used);
    };
    // A limit of MPS shows as a smaller device.
    *total = memory().total_bytes();
    *free = std::min(room(*total, mine),
                     room(fico::device::kMemoryBytes, mine + shared_state().memory_of_others()));
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAlloc_v2(CUdeviceptr* out, std::size_t bytes) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = allocate(call, bytes, MemoryKind::kDevice);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* out, std::size_t* pitch, std::size_t width,
                            std::size_t height, unsigned) {
  return api([&](Call& call) {
    require_value(out != nullptr && pitch != nullptr && width > 0 && height > 0);
    constexpr std::size_t alignment = 512;
    *pitch = (width + alignment - 1) / alignment * alignment;
    *out = allocate(call, *pitch * height, MemoryKind::kDevice);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAllocManaged(CUdeviceptr* out, std::size_t bytes, unsigned flags) {
  return api([&](Call& call) {
    require_value(out != nullptr && (flags == CU_MEM_ATTACH_GLOBAL || flags == CU_MEM_ATTACH_HOST));
    *out = allocate(call, bytes, MemoryKind::kManaged);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  return release(address, CUDA_ERROR_INVALID_VALUE, [](MemoryKind kind) {
    return kind == MemoryKind::kDevice || kind == MemoryKind::kAsync ||
           kind == MemoryKind::kManaged;
  });
}

CUresult cuMemHostAlloc(void** out, std::size_t bytes, unsigned flags) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = pointer_to<void>(allocate(call, bytes, MemoryKind::kPinned, flags));
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAllocHost_v2(void** out, std::size_t bytes) { return cuMemHostAlloc(out, bytes, 0); }

CUresult cuMemFreeHost(void* host) {
  return release(reinterpret_cast<std::uint64_t>(host), CUDA_ERROR_INVALID_VALUE,
                 [](MemoryKind kind) { return kind == MemoryKind::kPinned; });
}

CUresult cuMemHostRegister_v2(void* host, std::size_t bytes, unsigned flags) {
  return api([&](Call& call) {
    require_value(host != nullptr && bytes > 0);
    auto& context = current_context(call.rt);
    check_unsafe_call(call.rt);
    require(memory().add_registered(host, bytes, flags, context.root->handle()),
            CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostUnregister(void* host) {
  return release(reinterpret_cast<std::uint64_t>(host), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
                 [](MemoryKind kind) { return kind == MemoryKind::kRegistered; });
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* host, unsigned flags) {
  return api([&](Call&) {
    require_value(out != nullptr && flags == 0 && !memory().is_pageable(host));
    *out = reinterpret_cast<CUdeviceptr>(host);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemHostGetFlags(unsigned* flags, void* host) {
  return api([&](Call&) {
    const auto found = memory().find(reinterpret_cast<std::uint64_t>(host));
    require_value(flags != nullptr && found.has_value());
    *flags = found->host_flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr address) {
  return api([&](Call&) {
    const auto found = memory().find(address);
    require(found.has_value(), CUDA_ERROR_NOT_FOUND);
    if (base) *base = found->base;
    if (bytes) *bytes = found->bytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemAllocAsync(CUdeviceptr* out, std::size_t bytes, CUstream handle) {
  return api([&](Call& call) {
    require_value(out != nullptr && bytes > 0);
    auto& stream = stream_of(call.rt, handle);
    if (stream.is_legacy) check_legacy_use(call.rt, *stream.context);
    // Memory nodes are not emulated, so an allocation cannot be captured.
    require_not_capturing(call.rt, stream);
    const auto base = memory().allocate(bytes, MemoryKind::kAsync, stream.context->root->handle());
    require(base.has_value(), CUDA_ERROR_OUT_OF_MEMORY);
    *out = *base;
    return CUDA_SUCCESS;
  });
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    if (!address) return CUDA_SUCCESS;
    require_not_capturing(call.rt, stream);
    const auto found = memory().find(address);
    require_value(found && found->base == address && is_on_device(found->kind));
    submit_to(call, stream, AsyncFree{address});
    return CUDA_SUCCESS;
  });
}

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr address) {
  return api([&](Call& call) {
    require_value(data != nullptr);
    const auto found = memory().find(address);
    require_value(found && read_attribute(call.rt, attribute, *found, address, data));
    return CUDA_SUCCESS;
  });
}

CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute* attributes, void** data,
                                CUdeviceptr address) {
  return api([&](Call& call) {
    require_value(attributes != nullptr && data != nullptr);
    const auto found = memory().find(address);
    for (unsigned i = 0; i < count; ++i) {
      if (found && read_attribute(call.rt, attributes[i], *found, address, data[i])) continue;
      // Unknown memory is no error here: its attributes are null.
      const bool is_word = attributes[i] == CU_POINTER_ATTRIBUTE_CONTEXT ||
                           attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
                           attributes[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER;
      std::memset(data[i], 0, is_word ? sizeof(void*) : sizeof(unsigned));
      if (attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *static_cast<int*>(data[i]) = -2;
    }
    return CUDA_SUCCESS;
  });
}
