#include "arena/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "base/clock.hpp"

namespace fico::arena {
namespace {

// A file descriptor that closes itself.
struct File {
  int fd;
  ~File() {
    if (fd >= 0) close(fd);
  }
};

[[noreturn]] void fail(const std::string& what, int error_number) {
  throw base::SystemError(error_number, what + ": " + std::strerror(error_number));
}

Layout* map(int fd, const std::string& path) {
  void* address = mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) fail("the arena " + path + " can't be mapped", errno);
  return static_cast<Layout*>(address);
}

template <std::size_t size>
void copy_text(char (&to)[size], const std::string& from) {
  std::strncpy(to, from.c_str(), size - 1);
  to[size - 1] = '\0';
}

bool ends(const char* text, std::size_t size) { return std::memchr(text, '\0', size) != nullptr; }

// The reason why a mapped file is no arena of ours, or nullptr.
const char* damage(const Layout& layout) {
  if (layout.magic != kMagic) return "it does not begin as an arena does";
  if (layout.bytes != sizeof(Layout)) return "its size is not that of its version";
  if (layout.unit_count == 0 || layout.unit_count > kMaxUnits)
    return "its number of units is impossible";
  if (layout.policy.load() > Policy::kScheduled) return "its policy is unknown";
  if (!ends(layout.gpu_uuid, sizeof layout.gpu_uuid) ||
      !ends(layout.gpu_name, sizeof layout.gpu_name) ||
      !ends(layout.driver_version, sizeof layout.driver_version) ||
      !ends(layout.schedule, sizeof layout.schedule)) {
    return "a text in it has no end";
  }
  for (const Tenant& tenant : layout.tenants) {
    const Grant grant = tenant.grant.load();
    if (tenant.phase.load() > Phase::kLive || !ends(tenant.name, sizeof tenant.name) ||
        grant.hi > layout.unit_count || grant.lo > grant.hi || grant.mode > Mode::kScheduled) {
      return "a tenant in it is impossible";
    }
  }
  return nullptr;
}

}  // namespace

Arena Arena::create(const std::string& path, const Gpu& gpu, Policy policy,
                    const std::string& schedule) {
  if (gpu.sms_per_unit.empty() || gpu.sms_per_unit.size() > kMaxUnits) {
    throw ArenaError("the GPU has " + std::to_string(gpu.sms_per_unit.size()) +
                     " units, 1 to 64 are supported; split it into larger units");
  }
  const std::string unfinished = path + "." + std::to_string(getpid());
  unlink(unfinished.c_str());
  const File file{::open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (file.fd < 0) fail("the arena " + path + " can't be made", errno);
  // posix_fallocate takes the space now: writing to a full /dev/shm later would be a SIGBUS.
  if (const int error = posix_fallocate(file.fd, 0, sizeof(Layout)); error != 0) {
    unlink(unfinished.c_str());
    fail("no room for the arena " + path + " (" + std::to_string(sizeof(Layout) / 1024) + " KiB)",
         error);
  }
  Layout* layout = nullptr;
  try {
    layout = new (map(file.fd, path)) Layout{};
  } catch (...) {
    unlink(unfinished.c_str());
    throw;
  }
  layout->version = kVersion;
  layout->bytes = sizeof(Layout);
  layout->unit_count = static_cast<std::uint32_t>(gpu.sms_per_unit.size());
  layout->emulated = gpu.emulated ? 1 : 0;
  for (std::size_t i = 0; i < gpu.sms_per_unit.size(); ++i)
    layout->sms_per_unit[i] = gpu.sms_per_unit[i];
  copy_text(layout->gpu_uuid, gpu.uuid);
  copy_text(layout->gpu_name, gpu.name);
  copy_text(layout->driver_version, gpu.driver_version);
  layout->created_ns = base::realtime_ns();
  layout->policy = policy;
  copy_text(layout->schedule, schedule);
  layout->schedule_number = 1;
  layout->magic = kMagic;
  Arena arena(path, layout);
  // link() and not rename(): it refuses to replace an arena that somebody else made meanwhile.
  const int linked = link(unfinished.c_str(), path.c_str());
  const int error = errno;
  unlink(unfinished.c_str());
  if (linked != 0) fail("the arena " + path + " can't be made", error);
  return arena;
}

Arena Arena::open(const std::string& path) {
  const File file{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
  if (file.fd < 0) fail("the arena " + path + " can't be opened", errno);
  struct stat status{};
  if (fstat(file.fd, &status) != 0) fail("the arena " + path + " can't be read", errno);
  if (status.st_uid != geteuid()) {
    throw ArenaError("the arena " + path + " belongs to user " + std::to_string(status.st_uid) +
                     ": a session serves only the user who started it");
  }
  const char* remedy = "; end the session with 'fico down --force' and start it again";
  std::uint64_t head[2] = {0, 0};
  if (pread(file.fd, head, sizeof head, 0) == sizeof head && head[0] == kMagic) {
    const auto version = static_cast<std::uint32_t>(head[1]);
    if (version != kVersion) {
      throw ArenaError("the arena " + path + " is of version " + std::to_string(version) +
                       ", this is version " + std::to_string(kVersion) + remedy);
    }
  }
  if (status.st_size != sizeof(Layout)) {
    throw ArenaError("the arena " + path + " is damaged: it has " + std::to_string(status.st_size) +
                     " bytes and not " + std::to_string(sizeof(Layout)) + remedy);
  }
  Arena arena(path, map(file.fd, path));
  if (const char* reason = damage(arena.layout()); reason != nullptr) {
    throw ArenaError("the arena " + path + " is damaged: " + reason + remedy);
  }
  return arena;
}

Arena::Arena(Arena&& other) noexcept
    : path_(std::move(other.path_)), layout_(std::exchange(other.layout_, nullptr)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(layout_, other.layout_);
  return *this;
}

Arena::~Arena() {
  if (layout_ != nullptr) munmap(layout_, sizeof(Layout));
}

bool Arena::is_live(std::uint32_t slot, std::uint32_t generation) const {
  const Tenant& tenant = layout_->tenants[slot];
  return tenant.phase.load(std::memory_order_acquire) == Phase::kLive &&
         tenant.generation.load(std::memory_order_acquire) == generation;
}

std::string Arena::schedule() const {
  // A change takes microseconds; one that its writer did not live to end is ended by the next
  // sweep.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::uint32_t begun = layout_->change_begun.load();
    char text[kScheduleBytes];
    std::memcpy(text, layout_->schedule, sizeof text);
    std::atomic_thread_fence(std::memory_order_acquire);
    text[sizeof text - 1] = '\0';
    if (layout_->change_ended.load() == begun && layout_->change_begun.load() == begun) return text;
    usleep(100);
  }
  throw ArenaError(
      "the session's policy is being changed for too long; end the session with "
      "'fico down --force' and start it again");
}

}  // namespace fico::arena
