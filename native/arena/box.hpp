// A value in shared memory with one writer and any number of readers, none of whom ever waits.
//
// A sequence lock over relaxed words (Boehm, "Can Seqlocks Get Along with Programming Language
// Memory Models?", MSPC 2012). A writer that is killed while it writes leaves an odd version: then
// readers keep what they read last.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace fico::arena {

template <std::size_t kBytes>
class Box {
  static_assert(kBytes % 8 == 0);
  static constexpr std::size_t kWords = kBytes / 8;
  using Words = std::array<std::uint64_t, kWords>;

 public:
  template <class Value>
  void write(const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value> && sizeof(Value) <= kBytes);
    Words words{};
    std::memcpy(words.data(), &value, sizeof value);
    const std::uint64_t version = version_.load(std::memory_order_relaxed) | 1U;
    version_.store(version, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_release);
  }

  // As a value of zeros.
  void clear() { write(Words{}); }

  // Copies the value if it is another than that of version `seen`. False, and both as before, if it
  // is the same or is being written.
  template <class Value>
  bool read(Value& value, std::uint64_t& seen) const {
    static_assert(std::is_trivially_copyable_v<Value> && sizeof(Value) <= kBytes);
    const std::uint64_t version = version_.load(std::memory_order_acquire);
    if (version == seen || (version & 1U) != 0) return false;
    Words words;
    for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (version_.load(std::memory_order_relaxed) != version) return false;
    std::memcpy(static_cast<void*>(&value), words.data(), sizeof value);
    seen = version;
    return true;
  }

  // Of an empty box.
  static constexpr std::uint64_t kNoVersion = 0;

 private:
  std::atomic<std::uint64_t> version_;
  std::atomic<std::uint64_t> words_[kWords];
};

}  // namespace fico::arena
