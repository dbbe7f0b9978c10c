#include "profile/table.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

namespace fico::profile {
namespace {

constexpr std::uint64_t kMagic = 0x0145'4c42'5454'4346;  // "FCTTBLE" and a byte of 1
constexpr std::uint32_t kVersion = 3;
// FNV-1a, 64 bits (Fowler, Noll, Vo).
constexpr std::uint64_t kFnvBasis = 0xcbf2'9ce4'8422'2325;
constexpr std::uint64_t kFnvPrime = 0x0000'0100'0000'01b3;

// The file is this, then the launches, the traces and the kernels: each is aligned where it lies.
struct Header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t traces;
  std::uint64_t launches;
};
static_assert(sizeof(Header) % alignof(TableLaunch) == 0);
static_assert(sizeof(TableLaunch) % alignof(TableTrace) == 0);
static_assert(sizeof(TableTrace) % alignof(Kernel) == 0);

constexpr std::size_t kLaunchBytes = sizeof(TableLaunch) + sizeof(Kernel);

bool is_whole(const Header& header, std::span<const TableTrace> traces) {
  std::uint64_t next = 0;
  return std::ranges::all_of(traces, [&](const TableTrace& trace) {
    const bool follows = trace.first == next && trace.last > trace.first;
    next = trace.last;
    return follows && trace.last <= header.launches;
  });
}

}  // namespace

std::uint64_t name_hash(std::string_view mangled) {
  std::uint64_t hash = kFnvBasis;
  for (const char letter : mangled) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * kFnvPrime;
  }
  return hash & ~kNameFlags;
}

std::uint64_t signature(std::uint64_t name_hash, Dim grid, Dim block) {
  std::uint64_t hash = name_hash;
  for (const std::uint32_t value : {grid.x, grid.y, grid.z, block.x, block.y, block.z}) {
    hash = (hash ^ value) * kFnvPrime;
    hash ^= hash >> 29U;
  }
  return hash;
}

Table Table::open(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw base::SystemError(errno, "the kernel table " + path);
  struct stat status{};
  Table table;
  if (fstat(file, &status) == 0 && static_cast<std::size_t>(status.st_size) >= sizeof(Header)) {
    table.bytes_ = static_cast<std::size_t>(status.st_size);
    table.memory_ = mmap(nullptr, table.bytes_, PROT_READ, MAP_SHARED, file, 0);
    if (table.memory_ == MAP_FAILED) table.memory_ = nullptr;
  }
  close(file);
  const TableError damaged("the kernel table " + path +
                           " is damaged or of another version; start the program again");
  if (table.memory_ == nullptr) throw damaged;
  const auto& header = *static_cast<const Header*>(table.memory_);
  if (header.magic != kMagic || header.version != kVersion ||
      table.bytes_ !=
          sizeof(Header) + header.traces * sizeof(TableTrace) + header.launches * kLaunchBytes) {
    throw damaged;
  }
  const auto* bytes = static_cast<const char*>(table.memory_) + sizeof(Header);
  table.launches_ = {reinterpret_cast<const TableLaunch*>(bytes), header.launches};
  bytes += table.launches_.size_bytes();
  table.traces_ = {reinterpret_cast<const TableTrace*>(bytes), header.traces};
  bytes += table.traces_.size_bytes();
  table.kernels_ = {reinterpret_cast<const Kernel*>(bytes), header.launches};
  if (!is_whole(header, table.traces_)) throw damaged;
  return table;
}

void Table::write(const std::string& path, std::span<const TableTrace> traces,
                  std::span<const TableLaunch> launches, std::span<const Kernel> kernels) {
  const std::string draft = path + ".new";
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> file(std::fopen(draft.c_str(), "wb"),
                                                                &std::fclose);
  if (file == nullptr) throw base::SystemError(errno, "the kernel table " + path);
  const Header header{kMagic, kVersion, static_cast<std::uint32_t>(traces.size()), launches.size()};
  const auto put = [&](const void* data, std::size_t bytes) {
    return bytes == 0 || std::fwrite(data, bytes, 1, file.get()) == 1;
  };
  if (!put(&header, sizeof header) || !put(launches.data(), launches.size_bytes()) ||
      !put(traces.data(), traces.size_bytes()) || !put(kernels.data(), kernels.size_bytes()) ||
      std::fflush(file.get()) != 0 || std::rename(draft.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(draft.c_str());
    throw base::SystemError(error, "the kernel table " + path);
  }
}

Table::Table(Table&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      bytes_(other.bytes_),
      traces_(other.traces_),
      launches_(other.launches_),
      kernels_(other.kernels_) {}

Table::~Table() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
}

}  // namespace fico::profile
