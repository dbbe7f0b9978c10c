// The kernels of a tenant's profiles as its processes map them: how a launch is recognised and what
// is known of it. Written by `fico run --profile`, read-only afterwards.
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
[[gnu::hot]] std::uint64_t signature(std::uint64_t name_hash, Dim grid, Dim block);

// One launch of a request, in order.
struct TableLaunch {
  std::uint64_t signature;
  float remaining_us;  // of the request, from here on: alone on all units
  Class kernel_class;
};
static_assert(std::is_trivially_copyable_v<TableLaunch> && sizeof(TableLaunch) == 16);

// One kind of request: launches [first, last) of the table. `from_graph`, 0 or 1: they come as one
// CUDA graph.
struct TableTrace {
  std::uint32_t first;
  std::uint32_t last;
  std::uint32_t from_graph;
};
static_assert(std::is_trivially_copyable_v<TableTrace> && sizeof(TableTrace) == 12);

class Table {
 public:
  // Throws SystemError, or TableError for a file that is damaged or of another version.
  static Table open(const std::string& path);
  // Replaces the file in one step. As many kernels as launches. Throws SystemError.
  static void write(const std::string& path, std::span<const TableTrace> traces,
                    std::span<const TableLaunch> launches, std::span<const Kernel> kernels);

  Table(Table&& other) noexcept;
  Table& operator=(Table&&) = delete;
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  ~Table();

  std::span<const TableTrace> traces() const { return traces_; }
  std::span<const TableLaunch> launches() const { return launches_; }
  // What is known of each launch, at the same index.
  std::span<const Kernel> kernels() const { return kernels_; }

 private:
  Table() = default;

  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  std::span<const TableTrace> traces_;
  std::span<const TableLaunch> launches_;
  std::span<const Kernel> kernels_;
};

}  // namespace fico::profile
