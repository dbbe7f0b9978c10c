// Copies and memsets: the entry points. Which of them wait is what CUDA documents under "API
// synchronization behavior", and no more: where the host need not wait, it does not.
#include "emulator/capture.hpp"
#include "emulator/context.hpp"
#include "emulator/memory.hpp"
#include "emulator/stream.hpp"
#include "emulator/transfer.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

bool on_device(const void* address) {
  const auto found = memory().find(reinterpret_cast<std::uint64_t>(address));
  return found && found->kind != MemoryKind::kPinned && found->kind != MemoryKind::kRegistered;
}

std::uint64_t word(const void* address) { return reinterpret_cast<std::uint64_t>(address); }

// From pageable memory: the stream is waited for, the source is read, and the rest happens later.
// Inside the device: nothing is waited for. Otherwise the call returns when the copy is done.
template <class MakeCopy>
CUresult copy_now(CUstream handle, MakeCopy make) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    require_not_capturing(call.rt, stream);
    check_unsafe_call(call.rt);
    Copy copy = make();
    if (on_device(copy.target) && memory().is_pageable(copy.source) && copy.bytes()) {
      call.wait(tail_of(stream));
      stage(copy);
      submit_to(call, stream_of(call.rt, handle), std::move(copy));
      return CUDA_SUCCESS;
    }
    const bool inside_device = on_device(copy.target) && on_device(copy.source);
    const auto op = submit_to(call, stream, std::move(copy));
    if (!inside_device) call.wait({op});
    return CUDA_SUCCESS;
  });
}

// Pageable memory is read at the call, and written before it returns; otherwise nothing is waited
// for. What is captured is read and written when the graph runs.
template <class MakeCopy>
CUresult copy_later(CUstream handle, MakeCopy make) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    Copy copy = make();
    const bool to_pageable = copy.bytes() && memory().is_pageable(copy.target);
    if (!stream.capture && copy.bytes() && memory().is_pageable(copy.source)) {
      if (stream.is_legacy) check_legacy_use(call.rt, *stream.context);
      if (!to_pageable) stage(copy);
    }
    const auto op = enqueue(call, stream, std::move(copy));
    if (op && to_pageable) call.wait({op});
    return CUDA_SUCCESS;
  });
}

// Host memory that is a target of a memset is waited for, device memory is not.
CUresult set_now(CUstream handle, const CUDA_MEMSET_NODE_PARAMS& params) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    require_not_capturing(call.rt, stream);
    check_unsafe_call(call.rt);
    const auto memset = memset_of(params);
    const bool waits = !on_device(memset.target);
    const auto op = submit_to(call, stream, memset);
    if (waits) call.wait({op});
    return CUDA_SUCCESS;
  });
}

CUresult set_later(CUstream handle, const CUDA_MEMSET_NODE_PARAMS& params) {
  return api([&](Call& call) {
    enqueue(call, stream_of(call.rt, handle), memset_of(params));
    return CUDA_SUCCESS;
  });
}

Copy to_device(CUdeviceptr target, const void* source, std::size_t bytes) {
  require_value(memory().device_can_reach(target, bytes));
  return linear_copy(target, word(source), bytes);
}

Copy to_host(void* target, CUdeviceptr source, std::size_t bytes) {
  require_value(memory().device_can_reach(source, bytes));
  return linear_copy(word(target), source, bytes);
}

Copy in_device(CUdeviceptr target, CUdeviceptr source, std::size_t bytes) {
  require_value(memory().device_can_reach(target, bytes) &&
                memory().device_can_reach(source, bytes));
  return linear_copy(target, source, bytes);
}

template <class Description>
Copy described(const Description* description) {
  require_value(description != nullptr);
  return copy_of(*description);
}

}  // namespace
}  // namespace fico::emulator

// Each family once for the legacy and once for the per-thread default stream.
#define FICO_BOTH_SYNC(name, parameters, make)                   \
  CUresult name parameters {                                     \
    return copy_now(CU_STREAM_LEGACY, [&] { return make; });     \
  }                                                              \
  CUresult name##_ptds parameters {                              \
    return copy_now(CU_STREAM_PER_THREAD, [&] { return make; }); \
  }

FICO_BOTH_SYNC(cuMemcpy, (CUdeviceptr dst, CUdeviceptr src, std::size_t bytes),
               linear_copy(dst, src, bytes))
FICO_BOTH_SYNC(cuMemcpyHtoD_v2, (CUdeviceptr dst, const void* src, std::size_t bytes),
               to_device(dst, src, bytes))
FICO_BOTH_SYNC(cuMemcpyDtoH_v2, (void* dst, CUdeviceptr src, std::size_t bytes),
               to_host(dst, src, bytes))
FICO_BOTH_SYNC(cuMemcpyDtoD_v2, (CUdeviceptr dst, CUdeviceptr src, std::size_t bytes),
               in_device(dst, src, bytes))
FICO_BOTH_SYNC(cuMemcpy2D_v2, (const CUDA_MEMCPY2D* copy), described(copy))
FICO_BOTH_SYNC(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D* copy), described(copy))
FICO_BOTH_SYNC(cuMemcpy3D_v2, (const CUDA_MEMCPY3D* copy), described(copy))
#undef FICO_BOTH_SYNC

CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, std::size_t bytes, CUstream stream) {
  return copy_later(stream, [&] { return linear_copy(dst, src, bytes); });
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void* src, std::size_t bytes,
                              CUstream stream) {
  return copy_later(stream, [&] { return to_device(dst, src, bytes); });
}
CUresult cuMemcpyDtoHAsync_v2(void* dst, CUdeviceptr src, std::size_t bytes, CUstream stream) {
  return copy_later(stream, [&] { return to_host(dst, src, bytes); });
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, std::size_t bytes,
                              CUstream stream) {
  return copy_later(stream, [&] { return in_device(dst, src, bytes); });
}
CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* copy, CUstream stream) {
  return copy_later(stream, [&] { return described(copy); });
}
CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* copy, CUstream stream) {
  return copy_later(stream, [&] { return described(copy); });
}

// NOLINTBEGIN(bugprone-macro-parentheses): a type takes none
#define FICO_MEMSET(bits, Value)                                                              \
  CUresult cuMemsetD##bits##_v2(CUdeviceptr dst, Value value, std::size_t count) {            \
    return set_now(CU_STREAM_LEGACY, {dst, 0, value, bits / 8, count, 1});                    \
  }                                                                                           \
  CUresult cuMemsetD##bits##_v2_ptds(CUdeviceptr dst, Value value, std::size_t count) {       \
    return set_now(CU_STREAM_PER_THREAD, {dst, 0, value, bits / 8, count, 1});                \
  }                                                                                           \
  CUresult cuMemsetD##bits##Async(CUdeviceptr dst, Value value, std::size_t count,            \
                                  CUstream stream) {                                          \
    return set_later(stream, {dst, 0, value, bits / 8, count, 1});                            \
  }                                                                                           \
  CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst, std::size_t pitch, Value value,            \
                                  std::size_t width, std::size_t height) {                    \
    return set_now(CU_STREAM_LEGACY, {dst, pitch, value, bits / 8, width, height});           \
  }                                                                                           \
  CUresult cuMemsetD2D##bits##_v2_ptds(CUdeviceptr dst, std::size_t pitch, Value value,       \
                                       std::size_t width, std::size_t height) {               \
    return set_now(CU_STREAM_PER_THREAD, {dst, pitch, value, bits / 8, width, height});       \
  }                                                                                           \
  CUresult cuMemsetD2D##bits##Async(CUdeviceptr dst, std::size_t pitch, Value value,          \
                                    std::size_t width, std::size_t height, CUstream stream) { \
    return set_later(stream, {dst, pitch, value, bits / 8, width, height});                   \
  }
FICO_MEMSET(8, unsigned char)
FICO_MEMSET(16, unsigned short)
FICO_MEMSET(32, unsigned int)
#undef FICO_MEMSET
// NOLINTEND(bugprone-macro-parentheses)
