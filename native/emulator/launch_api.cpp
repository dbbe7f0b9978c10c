// Launches and occupancy: the entry points.
#include <algorithm>

#include "device/h200.hpp"
#include "emulator/launch.hpp"
#include "emulator/stream.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

CUresult launch(CUfunction function, const LaunchShape& shape, CUstream handle, void** params,
                void** extra, std::span<const CUlaunchAttribute> attributes) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    enqueue(call, stream,
            make_kernel(call.rt, *stream.context, function, shape, params, extra, attributes,
                        stream.priority));
    return CUDA_SUCCESS;
  });
}

unsigned cluster_blocks(const CUlaunchConfig& config) {
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) continue;
    const auto& size = config.attrs[i].value.clusterDim;
    return size.x * size.y * size.z;
  }
  return 1;
}

}  // namespace
}  // namespace fico::emulator

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                        unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                        CUstream stream, void** params, void** extra) {
  return launch(function, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes},
                stream, params, extra, {});
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params,
                          void** extra) {
  if (!config || (config->numAttrs && !config->attrs)) return CUDA_ERROR_INVALID_VALUE;
  return launch(function,
                {{config->gridDimX, config->gridDimY, config->gridDimZ},
                 {config->blockDimX, config->blockDimY, config->blockDimZ},
                 config->sharedMemBytes},
                config->hStream, params, extra, {config->attrs, config->numAttrs});
}

CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                   unsigned grid_z, unsigned block_x, unsigned block_y,
                                   unsigned block_z, unsigned shared_bytes, CUstream stream,
                                   void** params) {
  CUlaunchAttribute cooperative{};
  cooperative.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
  cooperative.value.cooperative = 1;
  return launch(function, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes},
                stream, params, nullptr, {&cooperative, 1});
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function,
                                                              int block_size, std::size_t,
                                                              unsigned) {
  return api([&](Call& call) {
    require_value(blocks != nullptr && block_size > 0);
    const bool fits = static_cast<unsigned>(block_size) <= fico::device::kMaxThreadsPerBlock;
    *blocks =
        fits ? static_cast<int>(function_of(call.rt, function).image->timing.blocks_per_sm) : 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function,
                                                     int block_size, std::size_t shared_bytes) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block_size,
                                                              shared_bytes, 0);
}

CUresult cuOccupancyMaxActiveClusters(int* clusters, CUfunction function,
                                      const CUlaunchConfig* config) {
  return api([&](Call& call) {
    require_value(clusters != nullptr && config != nullptr);
    const auto& context = *stream_of(call.rt, config->hStream).context;
    const auto& image = *function_of(call.rt, function).image;
    const unsigned blocks = cluster_blocks(*config);
    const bool possible = blocks > 0 && blocks <= fico::device::kMaxClusterBlocks &&
                          (blocks == 1 || context.co_scheduled);
    *clusters =
        possible ? static_cast<int>(context.sms.count() * image.timing.blocks_per_sm / blocks) : 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuOccupancyMaxPotentialClusterSize(int* size, CUfunction function,
                                            const CUlaunchConfig* config) {
  return api([&](Call& call) {
    require_value(size != nullptr && config != nullptr);
    function_of(call.rt, function);
    const auto& context = *stream_of(call.rt, config->hStream).context;
    *size = context.co_scheduled ? static_cast<int>(fico::device::kMaxClusterBlocks) : 1;
    return CUDA_SUCCESS;
  });
}

CUresult cuOccupancyMaxPotentialBlockSize(int* min_grid, int* block_size, CUfunction function,
                                          CUoccupancyB2DSize, std::size_t, int limit) {
  return api([&](Call& call) {
    require_value(min_grid != nullptr && block_size != nullptr);
    const auto& image = *function_of(call.rt, function).image;
    constexpr int largest = fico::device::kMaxThreadsPerBlock;
    *block_size = limit > 0 ? std::min(limit, largest) : largest;
    *min_grid = static_cast<int>(current_context(call.rt).sms.count() * image.timing.blocks_per_sm);
    return CUDA_SUCCESS;
  });
}
