// A mapped arena: making, opening, and what may be asked of it without a lock.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arena/layout.hpp"
#include "base/error.hpp"

namespace fico::arena {

struct ArenaError : base::Error {
  using base::Error::Error;
};

struct Gpu {
  std::string uuid;
  std::string name;
  std::string driver_version;
  std::vector<std::uint32_t> sms_per_unit;
  bool emulated = false;
};

// Owns one mapping. Movable; every const method may be called by any thread.
class Arena {
 public:
  // Makes a new arena, complete before it gets its name, so that nobody ever sees half of one.
  // Throws SystemError (EEXIST if the name is taken), ArenaError for a GPU it cannot describe.
  static Arena create(const std::string& path, const Gpu& gpu, Policy policy,
                      const std::string& schedule);

  // Throws SystemError (ENOENT, EACCES, ...), ArenaError if damaged, of another version or owner.
  static Arena open(const std::string& path);

  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  Layout& layout() const { return *layout_; }
  Tenant& tenant(std::uint32_t slot) const { return layout_->tenants[slot]; }
  const std::string& path() const { return path_; }

  // Name and settings of the session's policy.
  std::string schedule() const;

  // Whether a slot is still the tenant that had this generation.
  bool is_live(std::uint32_t slot, std::uint32_t generation) const;

 private:
  Arena(std::string path, Layout* layout) : path_(std::move(path)), layout_(layout) {}

  std::string path_;
  Layout* layout_ = nullptr;
};

}  // namespace fico::arena
