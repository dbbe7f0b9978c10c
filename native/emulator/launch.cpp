#include "emulator/launch.hpp"

#include <algorithm>
#include <cstring>

#include "device/h200.hpp"

namespace fico::emulator {
namespace {

// The parameters, in the layout that the kernel takes: from an array of pointers or from a buffer.
std::vector<std::byte> copy_params(const KernelImage& image, void** params, void** extra) {
  std::vector<std::byte> copy(image.params_bytes);
  if (copy.empty()) return copy;
  require_value((params != nullptr) != (extra != nullptr));
  if (params) {
    for (std::size_t i = 0; i < image.param_sizes.size(); ++i) {
      require_value(params[i] != nullptr);
      std::memcpy(copy.data() + image.param_offsets[i], params[i], image.param_sizes[i]);
    }
    return copy;
  }
  const void* buffer = nullptr;
  std::size_t bytes = 0;
  for (std::size_t i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[i + 1];
    if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE) bytes = *static_cast<std::size_t*>(extra[i + 1]);
  }
  require_value(buffer != nullptr && bytes >= image.params_bytes);
  std::memcpy(copy.data(), buffer, copy.size());
  return copy;
}

void check_cluster(const Context& context, const Kernel& kernel) {
  const auto* attribute = find_attribute(kernel, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
  if (!attribute) return;
  const auto& size = attribute->value.clusterDim;
  require(size.x && size.y && size.z, CUDA_ERROR_INVALID_CLUSTER_SIZE);
  const unsigned sizes[3] = {size.x, size.y, size.z};
  for (int axis = 0; axis < 3; ++axis) {
    require_value(kernel.grid[axis] % sizes[axis] == 0);
  }
  const std::uint64_t blocks = std::uint64_t{size.x} * size.y * size.z;
  // Blocks of a cluster run on co-scheduled SMs, at least one of them each.
  const bool fits =
      blocks <= device::kMaxClusterBlocks && (blocks == 1 || context.co_scheduled) &&
      blocks <= std::uint64_t{context.sms.count()} * kernel.image->timing.blocks_per_sm;
  require(fits, CUDA_ERROR_INVALID_CLUSTER_SIZE);
}

void check_cooperative(const Context& context, const Kernel& kernel) {
  const auto* attribute = find_attribute(kernel, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
  if (!attribute || !attribute->value.cooperative) return;
  const double room = double(context.sms.count()) * kernel.image->timing.blocks_per_sm;
  require(kernel.blocks() <= room, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
}

}  // namespace

const CUlaunchAttribute* find_attribute(const Kernel& kernel, CUlaunchAttributeID id) {
  const auto found = std::ranges::find(kernel.attributes, id, &CUlaunchAttribute::id);
  return found == kernel.attributes.end() ? nullptr : &*found;
}

void set_attribute(Kernel& kernel, CUlaunchAttributeID id, const CUlaunchAttributeValue& value) {
  std::erase_if(kernel.attributes, [&](const CUlaunchAttribute& a) { return a.id == id; });
  CUlaunchAttribute attribute{};
  attribute.id = id;
  attribute.value = value;
  kernel.attributes.push_back(attribute);
  if (id == CU_LAUNCH_ATTRIBUTE_PRIORITY) {
    kernel.priority = std::clamp(value.priority, kGreatestPriority, kLeastPriority);
  }
}

void apply_attributes(Kernel& kernel, int stream_priority) {
  kernel.priority = stream_priority;
  if (const auto* priority = find_attribute(kernel, CU_LAUNCH_ATTRIBUTE_PRIORITY)) {
    kernel.priority = std::clamp(priority->value.priority, kGreatestPriority, kLeastPriority);
  }
}

void check_launch(const Context& context, const Kernel& kernel) {
  for (int axis = 0; axis < 3; ++axis) require_value(kernel.grid[axis] && kernel.block[axis]);
  const double threads =
      double(kernel.block[0]) * double(kernel.block[1]) * double(kernel.block[2]);
  require_value(threads <= device::kMaxThreadsPerBlock);
  if (kernel.attributes.empty()) return;
  check_cluster(context, kernel);
  check_cooperative(context, kernel);
}

Kernel make_kernel(Runtime& rt, Context& context, CUfunction handle, const LaunchShape& shape,
                   void** params, void** extra, std::span<const CUlaunchAttribute> attributes,
                   int stream_priority) {
  auto& function = function_of(rt, handle);
  // A function belongs to its module's context; a kernel of a library to any.
  require(function.module->is_library || function.module->context == context.root,
          CUDA_ERROR_INVALID_HANDLE);
  Kernel kernel;
  kernel.image = function.image;
  kernel.function = handle;
  kernel.context = context.handle();
  kernel.sms = context.sms;
  std::copy_n(shape.grid, 3, kernel.grid);
  std::copy_n(shape.block, 3, kernel.block);
  kernel.shared_bytes = shape.shared_bytes;
  kernel.params = copy_params(*function.image, params, extra);
  kernel.attributes.assign(attributes.begin(), attributes.end());
  apply_attributes(kernel, stream_priority);
  check_launch(context, kernel);
  return kernel;
}

}  // namespace fico::emulator
