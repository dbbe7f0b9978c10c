#include "op_runner_world.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace fico::testing {
namespace {

// The device code: text for the emulated driver.
constexpr const char* kModule =
    "fico-emulated-module\n"
    "kernel fill op=fill blocks_per_sm=4\n"
    "kernel mix op=mix blocks_per_sm=4\n"
    "kernel mix2 op=mix2 blocks_per_sm=4\n"
    "kernel axpy op=axpy blocks_per_sm=4\n";

std::uint64_t hash_words(const std::vector<std::uint32_t>& words) {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a over the words
  for (std::uint32_t word : words) hash = (hash ^ word) * 1099511628211ULL;
  return hash;
}

std::string digest_line(char kind, int id, const std::vector<std::uint32_t>& words) {
  char text[64];
  std::snprintf(text, sizeof text, "%c%d %016llx", kind, id,
                static_cast<unsigned long long>(hash_words(words)));
  return text;
}

}  // namespace

std::uint32_t mix_word(std::uint32_t word, std::uint32_t seed) {
  word = (word ^ seed) * 0x9E3779B1U;
  word ^= word >> 15;
  word = (word + seed) * 0x85EBCA77U;
  return word ^ (word >> 13);
}

void HostEffect::run() const {
  for (std::uint32_t i = 0; i < count; ++i) words[i] = mix_word(words[i], seed + i);
}

void require(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS)
    throw ProgramError(std::string(what) + " gave " + std::to_string(static_cast<int>(result)));
}

World::World(const Driver& reached, const Program& program)
    : driver(reached), words(program.words), context_count_(program.contexts) {
  if (context_count_ > kMaxContexts) throw ProgramError("too many contexts");
  for (int i = 0; i < context_count_; ++i) open_context(i);
  for (const BufferSpec& spec : program.buffers) make_buffer(spec);
}

void World::open_context(int index) {
  const DriverEntries& api = driver.legacy;
  ContextSlot& slot = contexts[static_cast<std::size_t>(index)];
  CUdevice device = 0;
  require(api.fico_cuDeviceGet(&device, 0), "cuDeviceGet");
  if (index == 0) {
    require(api.fico_cuDevicePrimaryCtxRetain(&slot.context, device), "cuDevicePrimaryCtxRetain");
  } else {
    require(api.fico_cuCtxCreate(&slot.context, nullptr, 0, device), "cuCtxCreate");
  }
  require(api.fico_cuCtxSetCurrent(slot.context), "cuCtxSetCurrent");
  require(api.fico_cuModuleLoadData(&slot.module, kModule), "cuModuleLoadData");
  const auto function = [&](CUfunction& out, const char* name) {
    require(api.fico_cuModuleGetFunction(&out, slot.module, name), name);
  };
  function(slot.fill, "fill");
  function(slot.mix, "mix");
  function(slot.mix2, "mix2");
  function(slot.axpy, "axpy");
  const std::size_t flag_bytes = kFlagsPerContext * sizeof(std::uint32_t);
  require(api.fico_cuMemAlloc(&slot.flags, flag_bytes), "cuMemAlloc");
  const std::vector<std::uint32_t> zeros(kFlagsPerContext);
  require(api.fico_cuMemcpyHtoD(slot.flags, zeros.data(), flag_bytes), "cuMemcpyHtoD");
  require(api.fico_cuCtxSynchronize(), "cuCtxSynchronize");
}

// Every buffer starts with words of its own, so that a copy from the wrong one shows.
void World::make_buffer(const BufferSpec& spec) {
  const DriverEntries& api = driver.legacy;
  Buffer buffer{.spec = spec};
  std::vector<std::uint32_t> start(static_cast<std::size_t>(words));
  for (std::uint32_t i = 0; i < start.size(); ++i)
    start[i] = mix_word(i, static_cast<std::uint32_t>(spec.id * 256 + spec.kind));
  require(api.fico_cuCtxSetCurrent(contexts.at(static_cast<std::size_t>(spec.context)).context),
          "cuCtxSetCurrent");
  if (spec.kind == 'd') {
    device_index_.at(static_cast<std::size_t>(spec.id)) = static_cast<int>(buffers_.size());
    if (!spec.dynamic) {
      require(api.fico_cuMemAlloc(&buffer.device, bytes()), "cuMemAlloc");
      require(api.fico_cuMemcpyHtoD(buffer.device, start.data(), bytes()), "cuMemcpyHtoD");
      require(api.fico_cuCtxSynchronize(), "cuCtxSynchronize");
    }
  } else {
    host_index_.at(static_cast<std::size_t>(spec.id)) = static_cast<int>(buffers_.size());
    void* memory = nullptr;
    if (spec.pinned) {
      require(api.fico_cuMemAllocHost(&memory, bytes()), "cuMemAllocHost");
    } else {
      memory = std::malloc(bytes());
    }
    buffer.host = static_cast<std::uint32_t*>(memory);
    std::memcpy(buffer.host, start.data(), bytes());
  }
  buffers_.push_back(buffer);
}

std::uint32_t* World::host(const std::string& name) const {
  const int index = host_index_.at(static_cast<std::size_t>(id_of('h', name)));
  return buffers_.at(static_cast<std::size_t>(index)).host;
}

CUdeviceptr& World::device(const std::string& name) {
  const int index = device_index_.at(static_cast<std::size_t>(id_of('d', name)));
  return buffers_.at(static_cast<std::size_t>(index)).device;
}

HostEffect* World::keep(const HostEffect& effect) {
  const std::lock_guard lock(effects_mutex_);
  return &effects_.emplace_back(effect);
}

void World::digest(std::vector<std::string>& lines) {
  const DriverEntries& api = driver.legacy;
  for (int i = 0; i < context_count_; ++i) {
    require(api.fico_cuCtxSetCurrent(contexts[static_cast<std::size_t>(i)].context),
            "cuCtxSetCurrent");
    require(api.fico_cuCtxSynchronize(), "the last cuCtxSynchronize");
  }
  std::vector<std::uint32_t> copy(static_cast<std::size_t>(words));
  for (const Buffer& buffer : buffers_) {
    if (buffer.spec.kind == 'h') {
      std::memcpy(copy.data(), buffer.host, bytes());
    } else if (buffer.device != 0) {
      const auto context = static_cast<std::size_t>(buffer.spec.context);
      require(api.fico_cuCtxSetCurrent(contexts.at(context).context), "cuCtxSetCurrent");
      require(api.fico_cuMemcpyDtoH(copy.data(), buffer.device, bytes()), "the last cuMemcpyDtoH");
    } else {
      continue;
    }
    lines.push_back(digest_line(buffer.spec.kind, buffer.spec.id, copy));
  }
}

// Failures are passed over: after an error of the program under test the driver may refuse.
void World::close_context(int index) {
  const DriverEntries& api = driver.legacy;
  ContextSlot& slot = contexts[static_cast<std::size_t>(index)];
  if (slot.context == nullptr) return;
  api.fico_cuCtxSetCurrent(slot.context);
  api.fico_cuMemFree(slot.flags);
  api.fico_cuModuleUnload(slot.module);
  CUdevice device = 0;
  api.fico_cuDeviceGet(&device, 0);
  if (index == 0) {
    api.fico_cuDevicePrimaryCtxRelease(device);
  } else {
    api.fico_cuCtxDestroy(slot.context);
  }
}

World::~World() {
  const DriverEntries& api = driver.legacy;
  for (CUgraphExec exec : execs)
    if (exec != nullptr) api.fico_cuGraphExecDestroy(exec);
  for (const GraphSlot& slot : graphs)
    if (slot.graph != nullptr) api.fico_cuGraphDestroy(slot.graph);
  for (CUevent event : events)
    if (event != nullptr) api.fico_cuEventDestroy(event);
  for (CUstream stream : streams)
    if (stream != nullptr) api.fico_cuStreamDestroy(stream);
  for (const Buffer& buffer : buffers_) {
    api.fico_cuCtxSetCurrent(contexts.at(static_cast<std::size_t>(buffer.spec.context)).context);
    if (buffer.device != 0) api.fico_cuMemFree(buffer.device);
    if (buffer.host != nullptr && buffer.spec.pinned) api.fico_cuMemFreeHost(buffer.host);
    if (buffer.host != nullptr && !buffer.spec.pinned) std::free(buffer.host);
  }
  for (int i = context_count_ - 1; i >= 0; --i) close_context(i);
}

}  // namespace fico::testing
