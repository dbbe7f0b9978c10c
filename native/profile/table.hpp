// The kernels of a profiled program as its tenant's processes map them: how a launch is recognised
// and what is known of it. Written by `fico run --profile`, read-only afterwards.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.hpp"
#include "profile/kernel.hpp"

namespace fico::profile {

struct TableError : base::Error {
  using base::Error::Error;
};

struct Dim {
  std::uint32_t x;
  std::uint32_t y;
  std::uint32_t z;
};

// What a launch is recognised by: its kernel's mangled name, its grid and its block. The hash of a
// name leaves the lowest bits to whoever keeps it.
constexpr std::uint64_t kNameFlags = 3;
std::uint64_t name_hash(std::string_view mangled);
std::uint64_t signature(std::uint64_t name_hash, Dim grid, Dim block);

// One launch of a request, in order.
struct TableLaunch {
  std::uint64_t signature;
  float remaining_us;  // of the request, from here on: alone on all units
  Class kernel_class;
};
static_assert(std::is_trivially_copyable_v<TableLaunch> && sizeof(TableLaunch) == 16);

// One kind of request: launches [first, last) of the table.
struct TableTrace {
  std::uint32_t first;
  std::uint32_t last;
};

class Table {
 public:
  // Throws SystemError, or TableError for a file that is damaged or of another version.
  static Table open(const std::string& path);
  // Replaces the file in one step. Throws SystemError.
  static void write(const std::string& path, std::span<const TableTrace> traces,
                    std::span<const TableLaunch> launches);

  Table(Table&& other) noexcept;
  Table& operator=(Table&&) = delete;
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  ~Table();

  std::span<const TableTrace> traces() const { return traces_; }
  std::span<const TableLaunch> launches() const { return launches_; }

 private:
  Table() = default;

  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::span<const TableTrace> traces_;
  std::span<const TableLaunch> launches_;
};

}  // namespace fico::profile
