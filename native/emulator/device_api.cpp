// The device and its properties: the entry points.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "device/h200.hpp"
#include "emulator/context.hpp"
#include "emulator/runtime.hpp"

using namespace fico::emulator;

namespace {

constexpr const char* kName = "Fico emulated H200";
constexpr char kUuid[16] = {'f', 'i', 'c', 'o', '-', 'e', 'm', 'u',
                            'l', 'a', 't', 'e', 'd', '-', '0', '0'};
constexpr const char* kBusId = "0000:f1:00.0";

void require_device(CUdevice device) { require(device == 0, CUDA_ERROR_INVALID_DEVICE); }

// Attributes that are not here are 0: features that the emulated device does not have.
const std::map<CUdevice_attribute, int>& attributes() {
  using fico::device::kSmCount;
  static const auto& values = *new std::map<CUdevice_attribute, int>{
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, fico::device::kMaxThreadsPerBlock},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
      {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472},
      {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
      {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
      {CU_DEVICE_ATTRIBUTE_MAX_PITCH, 2147483647},
      {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
      {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
      {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1980000},
      {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 3201000},
      {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 6144},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 62914560},
      {CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
      {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, kSmCount},
      {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
      {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
      {CU_DEVICE_ATTRIBUTE_ECC_ENABLED, 1},
      {CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 0xF1},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
      {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32},
      {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
      {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
      {CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1},
      {CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_MEM_OPS_V1, 1},
      {CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 1},
      {CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR, 1},
      {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
      {CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, 1},
      {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
      {CU_DEVICE_ATTRIBUTE_MPS_ENABLED, 1},
  };
  return values;
}

}  // namespace

CUresult cuDeviceGetCount(int* count) {
  return api([&](Call&) {
    require_value(count != nullptr);
    *count = 1;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return api([&](Call&) {
    require_value(device != nullptr);
    require_device(ordinal);
    *device = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  return api([&](Call&) {
    require_value(name != nullptr && length > 0);
    require_device(device);
    std::snprintf(name, static_cast<std::size_t>(length), "%s", kName);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return api([&](Call&) {
    require_value(uuid != nullptr);
    require_device(device);
    std::memcpy(uuid->bytes, kUuid, sizeof kUuid);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

CUresult cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice device) {
  return api([&](Call&) {
    require_value(bytes != nullptr);
    require_device(device);
    *bytes = fico::device::kMemoryBytes;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  return api([&](Call&) {
    require_value(value != nullptr && attribute > 0 && attribute < CU_DEVICE_ATTRIBUTE_MAX);
    require_device(device);
    const auto known = attributes().find(attribute);
    *value = known == attributes().end() ? 0 : known->second;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device) {
  return api([&](Call&) {
    require_value(major != nullptr && minor != nullptr);
    require_device(device);
    *major = 9;
    *minor = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device) {
  return api([&](Call&) {
    require_value(text != nullptr && length > 0);
    require_device(device);
    std::snprintf(text, static_cast<std::size_t>(length), "%s", kBusId);
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceGetByPCIBusId(CUdevice* device, const char* text) {
  return api([&](Call&) {
    require_value(device != nullptr && text != nullptr);
    require(std::strcmp(text, kBusId) == 0, CUDA_ERROR_INVALID_DEVICE);
    *device = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  return api([&](Call&) {
    require_value(can != nullptr);
    require_device(device);
    require_device(peer);
    *can = 0;
    return CUDA_SUCCESS;
  });
}

// The primary context.

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  return api([&](Call& call) {
    require_value(context != nullptr);
    require_device(device);
    *context = retain_primary(call.rt).handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return api([&](Call& call) {
    require_device(device);
    require(call.rt.primary->users > 0, CUDA_ERROR_INVALID_CONTEXT);
    release_primary(call);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  return api([&](Call& call) {
    require_device(device);
    auto& primary = *call.rt.primary;
    if (primary.users == 0) return CUDA_SUCCESS;
    call.wait(all_work(call.rt, primary));
    close_context(call.rt, primary);
    call.rt.contexts.remove_if([&](Context& context) {
      if (context.kind != Context::Kind::kGreen) return false;
      close_context(call.rt, context);
      memory().discharge(fico::device::kGreenContextBytes);
      return true;
    });
    primary.users = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  return api([&](Call& call) {
    require_value(flags != nullptr && active != nullptr);
    require_device(device);
    *flags = call.rt.primary->flags;
    *active = call.rt.primary->users > 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
  return api([&](Call& call) {
    require_device(device);
    require_value((flags & ~static_cast<unsigned>(CU_CTX_FLAGS_MASK)) == 0);
    call.rt.primary->flags = flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return cuDevicePrimaryCtxRelease_v2(device); }
CUresult cuDevicePrimaryCtxReset(CUdevice device) { return cuDevicePrimaryCtxReset_v2(device); }
CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags) {
  return cuDevicePrimaryCtxSetFlags_v2(device, flags);
}
