// One GPU in virtual time: kernels come with the units they may use and a priority, and end when
// the model says so. docs/device-model.md says how it works.
#pragma once

#include <cstdint>
#include <vector>

#include "device/model.hpp"
#include "device/settings.hpp"
#include "profile/kernel.hpp"
#include "profile/placed.hpp"

namespace fico::device {

struct Units {
  std::uint32_t lo;
  std::uint32_t hi;  // one past the last
};

// Deterministic: the same calls give the same times, bit for bit. Not thread-safe. No allocation
// once as many kernels as ever run together have run together.
class Gpu {
 public:
  // At most kMaxUnits units.
  explicit Gpu(const std::vector<std::uint32_t>& sms_per_unit, const Settings& settings = {});

  // A kernel becomes ready: its stream has reached it. `kernel` must outlive it. Lower priorities
  // go first, as in CUDA. `client` tells the processes apart: kernels of one client may share an SM
  // as those of several do under MPS, so the model makes no difference between them. The id is free
  // for reuse once the kernel has ended.
  std::uint32_t start(double now_us, const profile::Kernel& kernel, Units units, int priority,
                      std::uint32_t client);
  // When something happens next if no kernel comes; infinite if nothing runs.
  double next_us() const { return model_.next_us(); }
  // Goes on to `now_us`, which is at most next_us(), and appends what has ended by then.
  void advance(double now_us, std::vector<Completion>& ended) { model_.advance(now_us, ended); }
  bool runs(std::uint32_t id) const { return model_.runs(id); }
  // SMs' worth of room that a running kernel holds.
  double held_sms(std::uint32_t id) const { return model_.held_sms(id); }

 private:
  std::uint32_t units_;
  profile::Sms sms_;
  Model model_;
};

}  // namespace fico::device
