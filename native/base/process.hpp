// Who a process is, in a form that survives the reuse of process ids.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace fico::base {

// A process id in the upper 32 bits and the low 32 bits of the process's start time (clock ticks
// since boot) in the lower: two processes with one id never share both. 0 is nobody.
using ProcessId = std::uint64_t;

// The identity of a live process, or 0 if there is none (zombies count as gone: they hold nothing).
// Reads /proc; some 10 us. Async-signal-safe.
ProcessId identify(pid_t pid);

inline pid_t pid_of(ProcessId process) { return static_cast<pid_t>(process >> 32U); }

// Whether this very process still runs.
inline bool is_alive(ProcessId process) {
  return process != 0 && identify(pid_of(process)) == process;
}

}  // namespace fico::base
