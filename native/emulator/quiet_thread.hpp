// Threads that the program does not know of.
#pragma once

namespace fico::emulator {

/// Starts a detached thread with all signals blocked: the program's handlers must not run on it.
void start_quiet_thread(void (*body)(void*), void* argument);

}  // namespace fico::emulator
