// The file through which the processes of one emulated GPU know of each other's running kernels.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "device/kernel_shape.hpp"
#include "device/sm_set.hpp"

namespace fico::emulator {

inline constexpr unsigned kMaxProcesses = 64;
/// Kernels of one process that are on the device at once; others wait, as on a real GPU.
inline constexpr unsigned kMaxResident = 32;

/// A kernel that is on the device now. Without padding, for shared memory.
struct RunningKernel {
  device::SmSet sms;
  device::KernelShape shape;
  /// Lower is more urgent.
  std::int64_t priority = 0;
  /// When it came to the device, in emulated time.
  double arrival_us = 0;
  /// Unique among all processes that run.
  std::uint64_t id = 0;
};

struct SharedFile;

/// No lock is ever held in the file. A process owns one slot through its pid and start time in one
/// word, so that a process killed at any instruction leaves a slot that the next one can take; what
/// it publishes is guarded by a sequence number, and a reader that finds it torn looks again, but
/// not for ever.
class SharedState {
 public:
  /// Maps the file, making it or replacing a damaged one. Where that is impossible the process is
  /// alone on its device, and one line on stderr says so.
  void open(const std::string& path);
  /// Stays alone: nothing is shared (instant mode).
  void open_private();
  /// Frees the slot; at exit.
  void close();

  /// Kernels that this process runs now; executor thread only.
  void publish(std::span<const RunningKernel> kernels);
  /// Changes when another process has published; executor thread only.
  std::uint32_t generation() const;
  /// Kernels of the others; with `sweep`, slots of dead processes are freed on the way, which costs
  /// some system calls. Executor thread only.
  void read_others(std::vector<RunningKernel>& kernels, bool sweep);

  void publish_memory(std::uint64_t bytes);
  std::uint64_t memory_of_others() const;

  /// The word that the executor sleeps on: wake() here or from another process ends the sleep.
  std::atomic<std::uint32_t>& wake_word();

 private:
  bool map(const std::string& path);
  bool claim_slot();

  SharedFile* file_ = nullptr;
  unsigned slot_ = 0;
  std::uint64_t owner_ = 0;
};

SharedState& shared_state();

/// Waits until the word is no longer `seen`, at most `timeout_ns`; negative waits for ever.
void sleep_on(std::atomic<std::uint32_t>& word, std::uint32_t seen, std::int64_t timeout_ns);
void wake_sleeper(std::atomic<std::uint32_t>& word);

}  // namespace fico::emulator
