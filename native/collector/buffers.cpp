#include "collector/buffers.hpp"

#include <cstdlib>
#include <cstring>

namespace fico::collector {
namespace {

constexpr std::size_t kPrepared = 4;
// A whole page, so that no other memory shares one.
constexpr std::size_t kAlignment = 4096;

std::uint8_t* new_buffer() {
  void* memory = std::aligned_alloc(kAlignment, Buffers::kBytes);
  // This also makes the kernel give all of it now.
  if (memory != nullptr) std::memset(memory, 0, Buffers::kBytes);
  return static_cast<std::uint8_t*>(memory);
}

}  // namespace

void Buffers::prepare() {
  const std::lock_guard lock(mutex_);
  while (free_.size() < kPrepared) {
    std::uint8_t* buffer = new_buffer();
    if (buffer == nullptr) return;
    free_.push_back(buffer);
  }
}

std::uint8_t* Buffers::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      std::uint8_t* buffer = free_.back();
      free_.pop_back();
      return buffer;
    }
  }
  return new_buffer();
}

void Buffers::give_back(std::uint8_t* buffer) {
  std::memset(buffer, 0, kBytes);
  const std::lock_guard lock(mutex_);
  free_.push_back(buffer);
}

}  // namespace fico::collector
