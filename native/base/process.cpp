#include "base/process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fico::base {

ProcessId identify(pid_t pid) {
  if (pid <= 0) return 0;
  char path[40];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[1024];
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = '\0';

  // The second field is the program's name in parentheses and may hold anything, so count from the
  // last ')': state is the field after it, the start time the 20th after it (proc(5), field 22).
  const char* field = std::strrchr(text, ')');
  if (field == nullptr || field[1] == '\0') return 0;
  field += 2;
  if (*field == 'Z' || *field == 'X') return 0;
  for (int skipped = 0; skipped < 19; ++skipped) {
    field = std::strchr(field, ' ');
    if (field == nullptr) return 0;
    ++field;
  }
  const auto start_ticks = static_cast<std::uint32_t>(std::strtoull(field, nullptr, 10));
  return (static_cast<std::uint64_t>(pid) << 32U) | start_ticks;
}

}  // namespace fico::base
