// One process's view of the emulated GPU that it shares.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "device/kernel_shape.hpp"
#include "device/model.hpp"
#include "emulator/shared_state.hpp"

namespace fico::emulator {

/// Every process runs the device model over its own kernels and, as a mirror, those that the others
/// publish. It believes the model until the owner says that a kernel has gone: so a wait for
/// another process's kernel ends when the model says, however late that process wakes up. Not
/// thread-safe.
class DeviceView {
 public:
  DeviceView();

  /// A kernel of this process starts; ended() will name it.
  void start(double now_us, const RunningKernel& kernel);
  /// What the other processes run now. Newcomers start when they arrived, as far as this view has
  /// not gone beyond that already.
  void mirror(double now_us, std::span<const RunningKernel> others);
  bool has_others() const { return others_ != 0; }

  /// When something happens next; infinite if nothing runs.
  double next_us() const { return model_.next_us(); }
  /// Goes on to `now_us` and appends the ids of the own kernels that have ended, in order.
  void advance(double now_us, std::vector<std::uint64_t>& ended);

 private:
  struct Entry {
    RunningKernel kernel;
    bool used = false;
    bool own = false;
    bool running = false;  // not yet ended in the model
    bool seen = false;
    std::uint32_t model_id = 0;
    device::SmDurations durations;
  };

  void step(double now_us);
  Entry& add(double now_us, const RunningKernel& kernel);

  device::Model model_;
  std::deque<Entry> entries_;
  std::vector<device::Completion> completions_;
  std::vector<std::uint64_t> ended_;  // own ones that no advance() has named yet
  std::size_t others_ = 0;
  double clock_us_ = 0;
};

}  // namespace fico::emulator
