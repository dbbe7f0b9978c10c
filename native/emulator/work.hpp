// What a stream or a graph node can be asked to do. The same value describes an operation in a
// stream and the parameters of a graph node.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "device/sm_set.hpp"
#include "emulator/kernel_image.hpp"

namespace fico::emulator {

/// Does nothing; an event records when it was reached.
struct Marker {};

struct Kernel {
  std::shared_ptr<const KernelImage> image;
  CUfunction function = nullptr;  // the handle that was launched, a CUkernel included
  CUcontext context = nullptr;    // the (green) context that it runs in
  device::SmSet sms;
  unsigned grid[3] = {1, 1, 1};
  unsigned block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;
  int priority = 0;
  std::vector<std::byte> params;
  std::vector<CUlaunchAttribute> attributes;

  double blocks() const { return double(grid[0]) * double(grid[1]) * double(grid[2]); }
  device::KernelShape shape() const {
    return image->shape(blocks(), block[0] * block[1] * block[2], shared_bytes);
  }
};

/// A copy of `depth` slices of `height` rows of `width` bytes.
struct Copy {
  std::byte* target = nullptr;
  const std::byte* source = nullptr;
  std::size_t width = 0, height = 1, depth = 1;
  std::size_t target_pitch = 0, target_slice = 0;
  std::size_t source_pitch = 0, source_slice = 0;
  bool crosses_link = false;  // between host and device
  /// The source, read at the call: pageable memory of the host is staged.
  std::vector<std::byte> staged;
  CUmemorytype target_type = CU_MEMORYTYPE_UNIFIED;
  CUmemorytype source_type = CU_MEMORYTYPE_UNIFIED;

  std::size_t bytes() const { return width * height * depth; }
};

struct Memset {
  std::byte* target = nullptr;
  std::uint32_t value = 0;
  unsigned element_bytes = 1;
  std::size_t width = 0, height = 1;  // in elements and rows
  std::size_t pitch = 0;
};

struct HostCall {
  CUhostFn function = nullptr;
  CUstreamCallback callback = nullptr;  // instead of function; takes the stream
  CUstream stream = nullptr;
  void* user_data = nullptr;
};

/// A stream memory operation on 4 or 8 bytes.
struct ValueWait {
  std::uint64_t address = 0;
  std::uint64_t value = 0;
  unsigned bytes = 4;
  unsigned flags = 0;
};

struct ValueWrite {
  std::uint64_t address = 0;
  std::uint64_t value = 0;
  unsigned bytes = 4;
};

struct AsyncFree {
  std::uint64_t base = 0;
};

using Work = std::variant<Marker, Kernel, Copy, Memset, HostCall, ValueWait, ValueWrite, AsyncFree>;

}  // namespace fico::emulator
