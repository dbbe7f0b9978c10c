#include "emulator/transfer.hpp"

#include <cstring>

#include "emulator/memory.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {
namespace {

// One side of a described copy: where its first byte is.
std::uint64_t side_address(CUmemorytype type, const void* host, CUdeviceptr device,
                           std::size_t offset) {
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      return reinterpret_cast<std::uint64_t>(host) + offset;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
      return device + offset;
    default:
      fail(CUDA_ERROR_NOT_SUPPORTED);
  }
}

bool is_host_memory(std::uint64_t address) {
  const auto found = memory().find(address);
  return !found || found->kind == MemoryKind::kPinned || found->kind == MemoryKind::kRegistered;
}

void finish_sides(Copy& copy, std::uint64_t target, std::uint64_t source) {
  require_value(copy.bytes() == 0 || (target != 0 && source != 0));
  copy.target = pointer_to<std::byte>(target);
  copy.source = pointer_to<const std::byte>(source);
  copy.crosses_link = is_host_memory(target) != is_host_memory(source);
}

}  // namespace

Copy linear_copy(std::uint64_t target, std::uint64_t source, std::size_t bytes) {
  Copy copy;
  copy.width = copy.target_pitch = copy.target_slice = bytes;
  copy.source_pitch = copy.source_slice = bytes;
  finish_sides(copy, target, source);
  return copy;
}

Copy copy_of(const CUDA_MEMCPY3D& d) {
  Copy copy;
  copy.width = d.WidthInBytes;
  copy.height = d.Height;
  copy.depth = d.Depth;
  copy.target_pitch = d.dstPitch ? d.dstPitch : d.WidthInBytes;
  copy.source_pitch = d.srcPitch ? d.srcPitch : d.WidthInBytes;
  copy.target_type = d.dstMemoryType;
  copy.source_type = d.srcMemoryType;
  copy.target_slice = copy.target_pitch * (d.dstHeight ? d.dstHeight : d.Height);
  copy.source_slice = copy.source_pitch * (d.srcHeight ? d.srcHeight : d.Height);
  const auto target =
      side_address(d.dstMemoryType, d.dstHost, d.dstDevice,
                   d.dstZ * copy.target_slice + d.dstY * copy.target_pitch + d.dstXInBytes);
  const auto source =
      side_address(d.srcMemoryType, d.srcHost, d.srcDevice,
                   d.srcZ * copy.source_slice + d.srcY * copy.source_pitch + d.srcXInBytes);
  finish_sides(copy, target, source);
  return copy;
}

Copy copy_of(const CUDA_MEMCPY2D& d) {
  CUDA_MEMCPY3D whole{};  // NOLINT(bugprone-invalid-enum-default-initialization): set below
  whole.srcXInBytes = d.srcXInBytes;
  whole.srcY = d.srcY;
  whole.srcMemoryType = d.srcMemoryType;
  whole.srcHost = d.srcHost;
  whole.srcDevice = d.srcDevice;
  whole.srcPitch = d.srcPitch;
  whole.dstXInBytes = d.dstXInBytes;
  whole.dstY = d.dstY;
  whole.dstMemoryType = d.dstMemoryType;
  whole.dstHost = d.dstHost;
  whole.dstDevice = d.dstDevice;
  whole.dstPitch = d.dstPitch;
  whole.WidthInBytes = d.WidthInBytes;
  whole.Height = d.Height;
  whole.Depth = 1;
  return copy_of(whole);
}

CUDA_MEMCPY3D describe(const Copy& copy) {
  const auto type_of = [](CUmemorytype given, const void* address) {
    if (given != CU_MEMORYTYPE_UNIFIED) return given;
    return is_host_memory(reinterpret_cast<std::uint64_t>(address)) ? CU_MEMORYTYPE_HOST
                                                                    : CU_MEMORYTYPE_DEVICE;
  };
  CUDA_MEMCPY3D d{};  // NOLINT(bugprone-invalid-enum-default-initialization): set below
  d.srcMemoryType = type_of(copy.source_type, copy.source);
  d.dstMemoryType = type_of(copy.target_type, copy.target);
  if (d.srcMemoryType == CU_MEMORYTYPE_HOST) {
    d.srcHost = copy.source;
  } else {
    d.srcDevice = reinterpret_cast<CUdeviceptr>(copy.source);
  }
  if (d.dstMemoryType == CU_MEMORYTYPE_HOST) {
    d.dstHost = copy.target;
  } else {
    d.dstDevice = reinterpret_cast<CUdeviceptr>(copy.target);
  }
  d.srcPitch = copy.source_pitch;
  d.dstPitch = copy.target_pitch;
  d.srcHeight = copy.source_pitch ? copy.source_slice / copy.source_pitch : 0;
  d.dstHeight = copy.target_pitch ? copy.target_slice / copy.target_pitch : 0;
  d.WidthInBytes = copy.width;
  d.Height = copy.height;
  d.Depth = copy.depth;
  return d;
}

Memset memset_of(const CUDA_MEMSET_NODE_PARAMS& p) {
  require_value(p.elementSize == 1 || p.elementSize == 2 || p.elementSize == 4);
  require_value(p.dst % p.elementSize == 0);
  const std::size_t row_bytes = p.width * p.elementSize;
  const std::size_t pitch = p.height > 1 ? p.pitch : row_bytes;
  require_value(p.height <= 1 || pitch >= row_bytes);
  const std::size_t reach = p.height ? pitch * (p.height - 1) + row_bytes : 0;
  require_value(memory().device_can_reach(p.dst, reach));
  return {pointer_to<std::byte>(p.dst), p.value, p.elementSize, p.width, p.height, pitch};
}

CUDA_MEMSET_NODE_PARAMS describe(const Memset& memset) {
  return {reinterpret_cast<CUdeviceptr>(memset.target),
          memset.pitch,
          memset.value,
          memset.element_bytes,
          memset.width,
          memset.height};
}

void stage(Copy& copy) {
  copy.staged.resize(copy.bytes());
  for (std::size_t z = 0; z < copy.depth; ++z) {
    for (std::size_t y = 0; y < copy.height; ++y) {
      std::memcpy(copy.staged.data() + (z * copy.height + y) * copy.width,
                  copy.source + z * copy.source_slice + y * copy.source_pitch, copy.width);
    }
  }
}

}  // namespace fico::emulator
