// Names of the errors.
#include <cuda.h>

#include <algorithm>
#include <map>
#include <string>

namespace {

// clang-format off: it can't settle on a form for this list
#define FICO_ERRORS(X) \
  X(INVALID_VALUE) \
  X(OUT_OF_MEMORY) \
  X(NOT_INITIALIZED) \
  X(DEINITIALIZED) \
  X(PROFILER_DISABLED) \
  X(PROFILER_NOT_INITIALIZED) \
  X(PROFILER_ALREADY_STARTED) \
  X(PROFILER_ALREADY_STOPPED) \
  X(STUB_LIBRARY) \
  X(CALL_REQUIRES_NEWER_DRIVER) \
  X(DEVICE_UNAVAILABLE) \
  X(NO_DEVICE) \
  X(INVALID_DEVICE) \
  X(DEVICE_NOT_LICENSED) \
  X(INVALID_IMAGE) \
  X(INVALID_CONTEXT) \
  X(CONTEXT_ALREADY_CURRENT) \
  X(MAP_FAILED) \
  X(UNMAP_FAILED) \
  X(ARRAY_IS_MAPPED) \
  X(ALREADY_MAPPED) \
  X(NO_BINARY_FOR_GPU) \
  X(ALREADY_ACQUIRED) \
  X(NOT_MAPPED) \
  X(NOT_MAPPED_AS_ARRAY) \
  X(NOT_MAPPED_AS_POINTER) \
  X(ECC_UNCORRECTABLE) \
  X(UNSUPPORTED_LIMIT) \
  X(CONTEXT_ALREADY_IN_USE) \
  X(PEER_ACCESS_UNSUPPORTED) \
  X(INVALID_PTX) \
  X(INVALID_GRAPHICS_CONTEXT) \
  X(NVLINK_UNCORRECTABLE) \
  X(JIT_COMPILER_NOT_FOUND) \
  X(UNSUPPORTED_PTX_VERSION) \
  X(JIT_COMPILATION_DISABLED) \
  X(UNSUPPORTED_EXEC_AFFINITY) \
  X(UNSUPPORTED_DEVSIDE_SYNC) \
  X(CONTAINED) \
  X(INVALID_SOURCE) \
  X(FILE_NOT_FOUND) \
  X(SHARED_OBJECT_SYMBOL_NOT_FOUND) \
  X(SHARED_OBJECT_INIT_FAILED) \
  X(OPERATING_SYSTEM) \
  X(INVALID_HANDLE) \
  X(ILLEGAL_STATE) \
  X(LOSSY_QUERY) \
  X(NOT_FOUND) \
  X(NOT_READY) \
  X(ILLEGAL_ADDRESS) \
  X(LAUNCH_OUT_OF_RESOURCES) \
  X(LAUNCH_TIMEOUT) \
  X(LAUNCH_INCOMPATIBLE_TEXTURING) \
  X(PEER_ACCESS_ALREADY_ENABLED) \
  X(PEER_ACCESS_NOT_ENABLED) \
  X(PRIMARY_CONTEXT_ACTIVE) \
  X(CONTEXT_IS_DESTROYED) \
  X(ASSERT) \
  X(TOO_MANY_PEERS) \
  X(HOST_MEMORY_ALREADY_REGISTERED) \
  X(HOST_MEMORY_NOT_REGISTERED) \
  X(HARDWARE_STACK_ERROR) \
  X(ILLEGAL_INSTRUCTION) \
  X(MISALIGNED_ADDRESS) \
  X(INVALID_ADDRESS_SPACE) \
  X(INVALID_PC) \
  X(LAUNCH_FAILED) \
  X(COOPERATIVE_LAUNCH_TOO_LARGE) \
  X(TENSOR_MEMORY_LEAK) \
  X(NOT_PERMITTED) \
  X(NOT_SUPPORTED) \
  X(SYSTEM_NOT_READY) \
  X(SYSTEM_DRIVER_MISMATCH) \
  X(COMPAT_NOT_SUPPORTED_ON_DEVICE) \
  X(MPS_CONNECTION_FAILED) \
  X(MPS_RPC_FAILURE) \
  X(MPS_SERVER_NOT_READY) \
  X(MPS_MAX_CLIENTS_REACHED) \
  X(MPS_MAX_CONNECTIONS_REACHED) \
  X(MPS_CLIENT_TERMINATED) \
  X(CDP_NOT_SUPPORTED) \
  X(CDP_VERSION_MISMATCH) \
  X(STREAM_CAPTURE_UNSUPPORTED) \
  X(STREAM_CAPTURE_INVALIDATED) \
  X(STREAM_CAPTURE_MERGE) \
  X(STREAM_CAPTURE_UNMATCHED) \
  X(STREAM_CAPTURE_UNJOINED) \
  X(STREAM_CAPTURE_ISOLATION) \
  X(STREAM_CAPTURE_IMPLICIT) \
  X(CAPTURED_EVENT) \
  X(STREAM_CAPTURE_WRONG_THREAD) \
  X(TIMEOUT) \
  X(GRAPH_EXEC_UPDATE_FAILURE) \
  X(EXTERNAL_DEVICE) \
  X(INVALID_CLUSTER_SIZE) \
  X(FUNCTION_NOT_LOADED) \
  X(INVALID_RESOURCE_TYPE) \
  X(INVALID_RESOURCE_CONFIGURATION) \
  X(KEY_ROTATION) \
  X(UNKNOWN)
// clang-format on

struct ErrorText {
  std::string name;
  std::string description;
};

// The description is the name in words.
ErrorText text_of(const char* name) {
  ErrorText text{std::string("CUDA_ERROR_") + name, name};
  std::ranges::transform(text.description, text.description.begin(), [](unsigned char letter) {
    if (letter == '_') return ' ';
    const bool is_capital = 'A' <= letter && letter <= 'Z';
    return static_cast<char>(is_capital ? letter - 'A' + 'a' : letter);
  });
  return text;
}

const ErrorText* find_error(CUresult error) {
  static const auto& texts =
      *new std::map<CUresult, ErrorText>{{CUDA_SUCCESS, {"CUDA_SUCCESS", "no error"}},
#define FICO_ENTRY(name) {CUDA_ERROR_##name, text_of(#name)},
                                         FICO_ERRORS(FICO_ENTRY)
#undef FICO_ENTRY
      };
  const auto found = texts.find(error);
  return found == texts.end() ? nullptr : &found->second;
}

}  // namespace

CUresult cuGetErrorName(CUresult error, const char** name) {
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  const auto* text = find_error(error);
  *name = text ? text->name.c_str() : nullptr;
  return text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char** description) {
  if (!description) return CUDA_ERROR_INVALID_VALUE;
  const auto* text = find_error(error);
  *description = text ? text->description.c_str() : nullptr;
  return text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
