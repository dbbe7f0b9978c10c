#include "base/log.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>

namespace fico::base {

void log_line(const char* format, ...) {
  const int saved_errno = errno;
  char line[1024];
  int length = std::snprintf(line, sizeof line, "fico: ");
  va_list arguments;
  va_start(arguments, format);
  const int text = std::vsnprintf(line + length, sizeof line - 1 - length, format, arguments);
  va_end(arguments);
  if (text > 0) length += text;
  if (length > static_cast<int>(sizeof line) - 2) length = sizeof line - 2;
  line[length++] = '\n';
  // One write, so that lines of several processes do not mix. A failure has nobody left to be told.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line, length);
  errno = saved_errno;
}

}  // namespace fico::base
