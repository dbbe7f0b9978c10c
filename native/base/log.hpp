// Lines for the person who runs the program. Never throws, never allocates, never ends the host.
#pragma once

namespace fico::base {

// Writes "fico: <text>\n" to standard error in one piece.
void log_line(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace fico::base
