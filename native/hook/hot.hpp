// What every launch looks at before anything else, side by side: a program that does much between
// two launches finds none of it in its caches, and each line of them is fetched anew.
#pragma once

#include <atomic>
#include <cstdint>

#include "arena/layout.hpp"

namespace fico::hook {

class Live;

struct alignas(64) Hot {
  // Each is written by the class that is named, and read by its functions.
  std::atomic<arena::Tenant*> row{nullptr};  // Tenant
  std::atomic<Live*> live{nullptr};          // Live
  // Tenant, before is_active: who is in a request in its session, and its own bit there.
  const std::atomic<std::uint64_t>* in_request = nullptr;
  std::uint64_t own_bit = 0;
  std::atomic<std::uint32_t> alone_since{0};    // Pacer
  std::atomic<std::uint32_t> span_since{0};     // Pacer
  std::atomic<std::int32_t> span_launches{0};   // Pacer
  std::atomic<int> captures{0};                 // Captures
  std::atomic<std::uint32_t> away{0};           // Stream: how many are not at home
  std::atomic<std::uint32_t> home_launches{0};  // HomeLaunch: under way
  std::atomic<bool> is_active{false};           // Tenant
  std::atomic<bool> is_live_known{false};       // Live
  std::atomic<bool> is_outstanding{false};      // Pacer
  std::atomic<bool> has_context{false};         // Streams: it has seen one
};
static_assert(sizeof(Hot) == 64);

inline constinit Hot hot;

}  // namespace fico::hook
