// Kernels of the emulated device and the text that a module is made of.
//
// A module image is text (docs/emulator.md has the grammar):
//
//   fico-emulated-module
//   kernel NAME op=OP [blocks_per_sm=N] [us_per_block=X] [saturates_sms=N] [params=SIZE,SIZE,...]
//               [curve=US,US,...] [pressure=C,M,L] [sensitivity=C,M,L]
//               [registers=N] [shared=BYTES]
//   global NAME bytes=N
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/kernel_shape.hpp"
#include "profile/footprint.hpp"

namespace fico::emulator {

enum class KernelOp : std::uint8_t { kSpin, kFill, kAxpy, kMix, kMix2, kFault };

struct KernelImage {
  std::string name;
  KernelOp op = KernelOp::kSpin;
  /// What its duration depends on, but for the number of blocks.
  device::KernelShape timing{.us_per_block = 1};
  /// Of a thread; 0 is not given.
  std::uint32_t registers = 0;
  /// Static shared memory of a block.
  std::uint32_t shared_bytes = 0;
  std::vector<std::size_t> param_sizes;
  std::vector<std::size_t> param_offsets;
  std::size_t params_bytes = 0;

  /// As CUDA tells them to who asks.
  std::uint32_t reported_registers() const { return registers ? registers : 32; }

  /// What one launch asks of the device. Where the registers are not given, its blocks leave no
  /// room for others on their SMs.
  device::KernelShape shape(double blocks, unsigned block_threads, unsigned dynamic_bytes) const {
    auto whole = timing;
    whole.blocks = blocks;
    if (registers) {
      whole.footprint = profile::footprint_of(
          {block_threads, registers, shared_bytes + dynamic_bytes}, timing.blocks_per_sm);
    }
    return whole;
  }
};

struct GlobalImage {
  std::string name;
  std::size_t bytes = 0;
};

struct ModuleImage {
  std::vector<std::shared_ptr<const KernelImage>> kernels;
  std::vector<GlobalImage> globals;
};

/// Parses an image; false, with a line in `error`, where it is not one.
bool parse_module(std::string_view text, ModuleImage& image, std::string& error);

/// What one run of a kernel has read at its start and writes at its end. In between, a kernel that
/// CUDA does not order with it sees the old contents: a lost ordering changes the result.
class KernelRun {
 public:
  /// Reads the inputs. False where a pointer is not memory that the device can reach.
  bool begin(const KernelImage& kernel, const std::byte* params);
  /// Writes the result.
  void finish();

 private:
  std::vector<std::uint32_t> result_;
  std::uint32_t* target_ = nullptr;
};

}  // namespace fico::emulator
