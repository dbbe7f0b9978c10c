#include "seat/timeline_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>

#include "base/error.hpp"

namespace fico::seat {
namespace {

[[noreturn]] void fail(int error, const std::string& path) {
  throw base::SystemError(
      error, "the timeline " + path + " cannot be made: " + std::generic_category().message(error));
}

// A process may have had the same number before, and a program may have become another one.
int make(const std::string& stem, std::string& path) {
  for (int number = 1;; ++number) {
    path = stem;
    if (number > 1) path.append("-").append(std::to_string(number));
    path += ".timeline";
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0) return fd;
    if (errno != EEXIST) fail(errno, path);
  }
}

// Room on the disk, or why there is none. Beyond the limit of a file's size the system would end
// the program.
int reserve(int fd, std::size_t bytes) {
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) return EFBIG;
  int error = EINTR;
  while (error == EINTR) error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  return error;
}

}  // namespace

TimelineFile::TimelineFile(const std::string& folder, const std::string& tenant,
                           std::uint32_t unit_count, double clock_scale, std::uint32_t capacity)
    : bytes_(kTimelineHeaderBytes +
             std::size_t{std::max(capacity, kLeastCapacity)} * sizeof(TimelineRecord)) {
  const int fd = make(folder + "/" + tenant + "-" + std::to_string(getpid()), path_);
  int error = reserve(fd, bytes_);
  void* memory = MAP_FAILED;
  if (error == 0) {
    memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) error = errno;
  }
  close(fd);
  if (error != 0) {
    unlink(path_.c_str());
    fail(error, path_);
  }
  header_ = new (memory) TimelineHeader{};
  records_ = reinterpret_cast<TimelineRecord*>(static_cast<char*>(memory) + kTimelineHeaderBytes);
  header_->version = kTimelineVersion;
  header_->capacity = std::max(capacity, kLeastCapacity);
  header_->pid = static_cast<std::uint32_t>(getpid());
  header_->unit_count = unit_count;
  header_->clock_scale = clock_scale;
  std::snprintf(header_->tenant, sizeof header_->tenant, "%s", tenant.c_str());
  // Last, so that half a header is not taken for a whole one.
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(header_->magic, kTimelineMagic, sizeof header_->magic);
}

TimelineFile::~TimelineFile() { munmap(header_, bytes_); }

}  // namespace fico::seat
