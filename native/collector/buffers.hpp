// The memory into which CUPTI writes its records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace fico::collector {

// Buffers are zeroed and go round. Fresh memory would cost the program's thread, which CUPTI lets
// ask for a buffer in the midst of a launch: the kernel gives it page by page, and CUPTI zeroes it.
class Buffers {
 public:
  static constexpr std::size_t kBytes = 8 << 20;

  // Makes some, so that the first window has them.
  void prepare();
  // Zeroed; nullptr if there is no memory.
  std::uint8_t* take();
  // Zeroes it.
  void give_back(std::uint8_t* buffer);

 private:
  std::mutex mutex_;
  std::vector<std::uint8_t*> free_;
};

}  // namespace fico::collector
