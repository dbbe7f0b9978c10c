#include "emulator/op.hpp"

#include <atomic>
#include <cstring>

#include "device/h200.hpp"
#include "emulator/memory.hpp"

namespace fico::emulator {
namespace {

// Rows and slices of a copy, one after the other.
template <class Row>
void for_each_row(const Copy& copy, Row row) {
  for (std::size_t z = 0; z < copy.depth; ++z) {
    for (std::size_t y = 0; y < copy.height; ++y) {
      row((z * copy.height + y) * copy.width, z * copy.target_slice + y * copy.target_pitch,
          z * copy.source_slice + y * copy.source_pitch);
    }
  }
}

void write_memset(const Memset& memset) {
  for (std::size_t y = 0; y < memset.height; ++y) {
    auto* row = memset.target + y * memset.pitch;
    for (std::size_t x = 0; x < memset.width; ++x) {
      std::memcpy(row + x * memset.element_bytes, &memset.value, memset.element_bytes);
    }
  }
}

std::uint64_t load_value(std::uint64_t address, unsigned bytes) {
  if (bytes == 4) {
    return std::atomic_ref(*pointer_to<std::uint32_t>(address)).load();
  }
  return std::atomic_ref(*pointer_to<std::uint64_t>(address)).load();
}

void store_value(const ValueWrite& write) {
  if (write.bytes == 4) {
    std::atomic_ref(*pointer_to<std::uint32_t>(write.address))
        .store(static_cast<std::uint32_t>(write.value));
  } else {
    std::atomic_ref(*pointer_to<std::uint64_t>(write.address)).store(write.value);
  }
}

constexpr std::size_t kScribbledBytes = 1U << 20U;

// Freed memory is overwritten first, so that a use that comes too late is seen.
void scribble_and_free(std::uint64_t base) {
  if (const auto found = memory().find(base)) {
    std::memset(pointer_to<void>(base), 0xDD, std::min(found->bytes, kScribbledBytes));
  }
  memory().release(base, [](MemoryKind) { return true; });
}

}  // namespace

bool begin_effects(Op& op) {
  if (auto* kernel = std::get_if<Kernel>(&op.work)) {
    return op.run.begin(*kernel->image, kernel->params.data());
  }
  if (auto* copy = std::get_if<Copy>(&op.work)) {
    if (!copy->staged.empty()) {
      op.staged = std::move(copy->staged);
      return true;
    }
    op.staged.resize(copy->bytes());
    for_each_row(*copy, [&](std::size_t at, std::size_t, std::size_t source) {
      std::memcpy(op.staged.data() + at, copy->source + source, copy->width);
    });
  }
  return true;
}

void finish_effects(Op& op) {
  if (std::holds_alternative<Kernel>(op.work)) return op.run.finish();
  if (const auto* copy = std::get_if<Copy>(&op.work)) {
    if (op.staged.empty()) return;
    for_each_row(*copy, [&](std::size_t at, std::size_t target, std::size_t) {
      std::memcpy(copy->target + target, op.staged.data() + at, copy->width);
    });
  } else if (const auto* memset = std::get_if<Memset>(&op.work)) {
    write_memset(*memset);
  } else if (const auto* write = std::get_if<ValueWrite>(&op.work)) {
    store_value(*write);
  } else if (const auto* gone = std::get_if<AsyncFree>(&op.work)) {
    scribble_and_free(gone->base);
  }
}

double transfer_us(const Work& work) {
  if (const auto* copy = std::get_if<Copy>(&work)) {
    return static_cast<double>(copy->bytes()) /
           (copy->crosses_link ? device::kHostLinkBytesPerUs : device::kMemoryBytesPerUs);
  }
  if (const auto* memset = std::get_if<Memset>(&work)) {
    return static_cast<double>(memset->width * memset->height * memset->element_bytes) /
           device::kMemoryBytesPerUs;
  }
  return 0;
}

bool wait_is_over(const ValueWait& wait) {
  const auto value = load_value(wait.address, wait.bytes);
  const auto mask = wait.bytes == 4 ? 0xFFFF'FFFFULL : ~0ULL;
  switch (wait.flags & 3U) {
    case CU_STREAM_WAIT_VALUE_GEQ: {
      // Cyclic, as documented: the difference is taken as signed.
      const auto distance = (value - wait.value) & mask;
      return wait.bytes == 4 ? static_cast<std::int32_t>(distance) >= 0
                             : static_cast<std::int64_t>(distance) >= 0;
    }
    case CU_STREAM_WAIT_VALUE_EQ:
      return value == (wait.value & mask);
    case CU_STREAM_WAIT_VALUE_AND:
      return (value & wait.value & mask) != 0;
    default:
      return (~(value | wait.value) & mask) != 0;
  }
}

}  // namespace fico::emulator
