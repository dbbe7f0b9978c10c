#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "op_runner_driver.hpp"
#include "op_runner_program.hpp"

namespace fico::testing {

inline constexpr int kMaxObjects = 512;  // of each kind in one program
inline constexpr int kMaxContexts = 2;
inline constexpr int kFlagsPerContext = 64;

// A non-linear step on one word: its order beside every other step and every copy shows in the
// result. It is the step of the emulated kernel mix.
std::uint32_t mix_word(std::uint32_t word, std::uint32_t seed);

// What a host function does: mix a host buffer. Lives until the program's end.
struct HostEffect {
  std::uint32_t* words = nullptr;
  std::uint32_t count = 0;
  std::uint32_t seed = 0;
  void run() const;
};

struct GraphSlot {
  CUgraph graph = nullptr;
  std::array<CUgraphNode, 64> nodes{};
};

struct ContextSlot {
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUdeviceptr flags = 0;  // words for stream memory operations, each written once in a program
  CUfunction fill = nullptr;
  CUfunction mix = nullptr;
  CUfunction mix2 = nullptr;
  CUfunction axpy = nullptr;
};

// The objects of one running program. A slot is used by several threads only where the program
// itself orders them, so the slots need no lock: a race here is a fault of the program.
class World {
 public:
  World(const Driver& driver, const Program& program);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Waits for everything and appends a line for each buffer with the hash of its words.
  void digest(std::vector<std::string>& lines);

  HostEffect* keep(const HostEffect& effect);

  std::uint32_t* host(const std::string& name) const;
  CUdeviceptr& device(const std::string& name);
  std::size_t bytes() const { return sizeof(std::uint32_t) * static_cast<std::size_t>(words); }

  const Driver& driver;
  const int words;
  std::array<ContextSlot, kMaxContexts> contexts{};
  std::array<CUstream, kMaxObjects> streams{};
  std::array<CUevent, kMaxObjects> events{};
  std::array<GraphSlot, kMaxObjects> graphs{};
  std::array<CUgraphExec, kMaxObjects> execs{};
  std::array<std::atomic<bool>, kMaxObjects> posts{};

 private:
  struct Buffer {
    BufferSpec spec;
    CUdeviceptr device = 0;
    std::uint32_t* host = nullptr;
  };

  void open_context(int index);
  void close_context(int index);
  void make_buffer(const BufferSpec& spec);

  int context_count_;
  std::vector<Buffer> buffers_;
  std::array<int, kMaxObjects> device_index_{};
  std::array<int, kMaxObjects> host_index_{};
  std::mutex effects_mutex_;
  std::deque<HostEffect> effects_;
};

// Throws ProgramError for anything but success: for the calls that set a program up.
void require(CUresult result, const char* what);

}  // namespace fico::testing
