// A client of the emulated CUPTI: takes the buffers and keeps what is in them.
#pragma once

#include <cupti.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "emulator_world.hpp"

namespace fico::check {

template <class Entry>
Entry cupti_entry(const char* symbol) {
  static void* handle = dlopen(FICO_EMULATED_CUPTI, RTLD_NOW);
  auto found = handle ? reinterpret_cast<Entry>(dlsym(handle, symbol)) : nullptr;
  if (!found) {
    std::fprintf(stderr, "%s cannot be had from the emulated CUPTI\n", symbol);
    std::exit(1);
  }
  return found;
}

#define CUPTI(name) ::fico::check::cupti_entry<decltype(&::name)>(#name)
#define CUPTI_OK(call) CHECK_EQ(call, CUPTI_SUCCESS)

/// One for the process. What it gives out is set before it registers.
struct Client {
  std::size_t buffer_bytes = std::size_t{1} << 20;
  std::size_t most_records = 0;
  std::atomic<bool> refuses{false};

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<CUpti_ActivityKernel10> kernels;
  std::vector<CUpti_ActivityMemcpy6> copies;
  std::vector<CUpti_ActivityMemset4> memsets;
  std::vector<std::size_t> buffers;  // records in each
  std::atomic<int> open_buffers{0};

  void start(const std::vector<CUpti_ActivityKind>& kinds = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                                             CUPTI_ACTIVITY_KIND_MEMCPY,
                                                             CUPTI_ACTIVITY_KIND_MEMSET}) {
    CUPTI_OK(CUPTI(cuptiActivityRegisterCallbacks)(give, take));
    for (auto kind : kinds) CUPTI_OK(CUPTI(cuptiActivityEnable)(kind));
  }

  static void give(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most);
  static void take(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t bytes,
                   std::size_t valid_bytes);
};

inline Client& client() {
  static auto& instance = *new Client;
  return instance;
}

inline void Client::give(std::uint8_t** buffer, std::size_t* bytes, std::size_t* most) {
  auto& self = client();
  *buffer = nullptr;
  *bytes = self.buffer_bytes;
  *most = self.most_records;
  if (self.refuses) return;
  *buffer = static_cast<std::uint8_t*>(std::malloc(self.buffer_bytes));
  ++self.open_buffers;
}

inline void Client::take(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t bytes,
                         std::size_t valid_bytes) {
  auto& self = client();
  CHECK(valid_bytes <= bytes);
  const std::lock_guard lock(self.mutex);
  CUpti_Activity* activity = nullptr;
  std::size_t records = 0;
  CUptiResult result = CUPTI_SUCCESS;
  while ((result = CUPTI(cuptiActivityGetNextRecord)(buffer, valid_bytes, &activity)) ==
         CUPTI_SUCCESS) {
    ++records;
    if (activity->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      self.kernels.push_back(*reinterpret_cast<CUpti_ActivityKernel10*>(activity));
    } else if (activity->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      self.copies.push_back(*reinterpret_cast<CUpti_ActivityMemcpy6*>(activity));
    } else {
      self.memsets.push_back(*reinterpret_cast<CUpti_ActivityMemset4*>(activity));
    }
  }
  CHECK_EQ(result, CUPTI_ERROR_MAX_LIMIT_REACHED);
  self.buffers.push_back(records);
  std::free(buffer);
  --self.open_buffers;
  self.changed.notify_all();
}

/// Waits for all work and for its records.
inline void finish_and_flush() {
  OK(CU(cuCtxSynchronize)());
  CUPTI_OK(CUPTI(cuptiActivityFlushAll)(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED));
}

}  // namespace fico::check
