#include "emulator/shared_state.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace fico::emulator {
namespace {

// Version of the layout below, in the low byte; a file that says otherwise is replaced.
constexpr std::uint64_t kMagic = 0x6F63'6966'656D'7502;
constexpr unsigned kPidBits = 22;
// Looks at a slot that is being written; then it is skipped, as its owner may have been killed.
constexpr int kTries = 1000;

constexpr std::size_t kKernelWords = (sizeof(RunningKernel) + 7) / 8;
static_assert(sizeof(RunningKernel) == kKernelWords * 8);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

using KernelWords = std::array<std::uint64_t, kKernelWords>;

struct Slot {
  std::atomic<std::uint64_t> owner;  // start time and pid; 0 is free
  std::atomic<std::uint32_t> wake;
  std::atomic<std::uint32_t> sequence;  // odd while the kernels are being written
  std::atomic<std::uint64_t> memory_bytes;
  std::atomic<std::uint64_t> count;
  std::array<std::array<std::atomic<std::uint64_t>, kKernelWords>, kMaxResident> kernels;
};

// Start time of a process in clock ticks since boot; 0 where there is none.
std::uint64_t start_time(std::uint64_t pid) {
  char text[64];
  std::snprintf(text, sizeof text, "/proc/%llu/stat", static_cast<unsigned long long>(pid));
  const int file = open(text, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char stat[1024];
  const auto length = read(file, stat, sizeof stat - 1);
  ::close(file);
  if (length <= 0) return 0;
  stat[length] = 0;
  // The name is in parentheses and may hold anything, so count from the last one.
  const char* at = std::strrchr(stat, ')');
  if (!at || at[1] == 0 || at[2] == 'Z') return 0;
  for (int field = 2; field < 22 && at; ++field) at = std::strchr(at + 1, ' ');
  return at ? std::strtoull(at + 1, nullptr, 10) : 0;
}

std::uint64_t owner_of(std::uint64_t pid) {
  const auto started = start_time(pid);
  return started ? (started << kPidBits) | pid : 0;
}

bool is_alive(std::uint64_t owner) {
  return owner_of(owner & ((std::uint64_t{1} << kPidBits) - 1)) == owner;
}

// Appends the kernels of a slot; false, with nothing appended, where the owner was writing.
bool read_slot(const Slot& slot, std::vector<RunningKernel>& kernels) {
  const auto before = slot.sequence.load();
  const auto count = std::min<std::uint64_t>(slot.count.load(), kMaxResident);
  const auto keep = kernels.size();
  for (std::size_t k = 0; k < count; ++k) {
    KernelWords words;
    for (std::size_t w = 0; w < kKernelWords; ++w) words[w] = slot.kernels[k][w].load();
    kernels.push_back(std::bit_cast<RunningKernel>(words));
  }
  if (before % 2 == 0 && slot.sequence.load() == before) return true;
  kernels.resize(keep);
  return false;
}

}  // namespace

struct SharedFile {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint32_t> generation;
  std::atomic<std::uint32_t> padding;
  std::array<Slot, kMaxProcesses> slots;
};

SharedState& shared_state() {
  static auto& instance = *new SharedState;
  return instance;
}

void sleep_on(std::atomic<std::uint32_t>& word, std::uint32_t seen, std::int64_t timeout_ns) {
  timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, timeout_ns < 0 ? nullptr : &timeout, nullptr, 0);
}

void wake_sleeper(std::atomic<std::uint32_t>& word) {
  word.fetch_add(1);
  syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

void SharedState::open_private() {
  void* mapped =
      mmap(nullptr, sizeof(SharedFile), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  file_ = mapped == MAP_FAILED ? nullptr : static_cast<SharedFile*>(mapped);
  if (!file_) file_ = new SharedFile{};
  claim_slot();
}

// A file of zeros is a valid empty state, so there is no moment at which it is half made.
bool SharedState::map(const std::string& path) {
  const int file =
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (file < 0) return false;
  struct stat status{};
  bool usable = fstat(file, &status) == 0 && status.st_uid == geteuid() &&
                (status.st_size == 0 || status.st_size == sizeof(SharedFile));
  if (usable) usable = posix_fallocate(file, 0, sizeof(SharedFile)) == 0;
  void* mapped =
      usable ? mmap(nullptr, sizeof(SharedFile), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
             : MAP_FAILED;
  ::close(file);
  if (mapped == MAP_FAILED) {
    errno = usable ? errno : EINVAL;
    return false;
  }
  auto* shared = static_cast<SharedFile*>(mapped);
  std::uint64_t magic = 0;
  if (shared->magic.compare_exchange_strong(magic, kMagic) || magic == kMagic) {
    file_ = shared;
    return true;
  }
  munmap(mapped, sizeof(SharedFile));
  errno = EINVAL;
  return false;
}

void SharedState::open(const std::string& path) {
  bool mapped = map(path);
  if (!mapped && errno == EINVAL) {
    // Damaged, or of another version: whoever uses it keeps it, new processes start afresh.
    unlink(path.c_str());
    mapped = map(path);
  }
  if (mapped && claim_slot()) return;
  std::fprintf(stderr,
               "fico emulator: %s cannot be used (%s): this process is alone on its device; set "
               "FICO_EMULATED_STATE to a file that it may write\n",
               path.c_str(), mapped ? "64 processes use it already" : std::strerror(errno));
  open_private();
}

bool SharedState::claim_slot() {
  owner_ = owner_of(static_cast<std::uint64_t>(getpid()));
  for (unsigned i = 0; i < kMaxProcesses; ++i) {
    auto& slot = file_->slots[i];
    auto owner = slot.owner.load();
    if (owner && is_alive(owner)) continue;
    if (!slot.owner.compare_exchange_strong(owner, owner_)) continue;
    slot.count = 0;
    slot.memory_bytes = 0;
    slot.sequence = 0;
    slot_ = i;
    return true;
  }
  return false;
}

void SharedState::close() {
  if (!file_) return;
  auto& slot = file_->slots[slot_];
  auto owner = owner_;
  slot.count = 0;
  slot.memory_bytes = 0;
  slot.owner.compare_exchange_strong(owner, 0);
}

void SharedState::publish(std::span<const RunningKernel> kernels) {
  auto& slot = file_->slots[slot_];
  if (slot.owner.load() != owner_) return;  // closed: the process is ending
  const auto sequence = slot.sequence.load(std::memory_order_relaxed);
  slot.sequence.store(sequence + 1);
  for (std::size_t k = 0; k < kernels.size() && k < kMaxResident; ++k) {
    const auto words = std::bit_cast<KernelWords>(kernels[k]);
    for (std::size_t i = 0; i < kKernelWords; ++i) slot.kernels[k][i].store(words[i]);
  }
  slot.count.store(std::min<std::size_t>(kernels.size(), kMaxResident));
  slot.sequence.store(sequence + 2);
  file_->generation.fetch_add(1);
  for (unsigned i = 0; i < kMaxProcesses; ++i) {
    auto& other = file_->slots[i];
    if (i != slot_ && other.owner.load() && other.count.load()) wake_sleeper(other.wake);
  }
}

std::uint32_t SharedState::generation() const { return file_->generation.load(); }

void SharedState::read_others(std::vector<RunningKernel>& kernels, bool sweep) {
  kernels.clear();
  for (unsigned i = 0; i < kMaxProcesses; ++i) {
    auto& slot = file_->slots[i];
    auto owner = slot.owner.load();
    if (i == slot_ || !owner) continue;
    if (!slot.count.load()) continue;
    if (sweep && !is_alive(owner)) {
      slot.owner.compare_exchange_strong(owner, 0);
      continue;
    }
    for (int tries = 0; tries < kTries && !read_slot(slot, kernels); ++tries) {
    }
  }
}

void SharedState::publish_memory(std::uint64_t bytes) {
  if (file_) file_->slots[slot_].memory_bytes.store(bytes);
}

std::uint64_t SharedState::memory_of_others() const {
  std::uint64_t total = 0;
  for (unsigned i = 0; i < kMaxProcesses; ++i) {
    auto& slot = file_->slots[i];
    const auto bytes = slot.memory_bytes.load();
    auto owner = slot.owner.load();
    if (i == slot_ || !owner || !bytes) continue;
    if (is_alive(owner)) {
      total += bytes;
    } else {
      slot.owner.compare_exchange_strong(owner, 0);
    }
  }
  return total;
}

std::atomic<std::uint32_t>& SharedState::wake_word() { return file_->slots[slot_].wake; }

}  // namespace fico::emulator
