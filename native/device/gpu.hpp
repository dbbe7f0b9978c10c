// One GPU in virtual time: kernels come with the units they may use and a priority, and end when
// the model says so. Contract of the model; docs/device-model.md says how it works.
#pragma once

#include <cstdint>
#include <vector>

#include "profile/kernel.hpp"

namespace fico::device {

struct Units {
  std::uint32_t lo;
  std::uint32_t hi;  // one past the last
};

struct Completion {
  std::uint32_t id;  // what start() gave
  double time_us;
};

// Deterministic: the same calls give the same times, bit for bit. Not thread-safe. No allocation
// once as many kernels as ever run together have run together.
class Gpu {
 public:
  explicit Gpu(std::vector<std::uint32_t> sms_per_unit);

  // A kernel becomes ready: its stream has reached it. `kernel` must outlive it. Lower priorities
  // go first, as in CUDA. `client` tells the processes apart: kernels of one client may share an SM
  // as those of several do under MPS.
  std::uint32_t start(double now_us, const profile::Kernel& kernel, Units units, int priority,
                      std::uint32_t client);
  // When something happens next if no kernel comes; infinite if nothing runs.
  double next_us() const;
  // Goes on to `now_us`, which is at most next_us(), and appends what has ended by then.
  void advance(double now_us, std::vector<Completion>& ended);

 private:
  struct Running {
    const profile::Kernel* kernel = nullptr;
    Units units{};
    int priority = 0;
    double left = 0;
    double rate = 0;
  };
  void share();
  std::vector<std::uint32_t> sms_;
  std::vector<Running> running_;
  double now_us_ = 0;
};

}  // namespace fico::device
