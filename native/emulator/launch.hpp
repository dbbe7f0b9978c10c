// What a launch asks for, checked and copied.
#pragma once

#include <cuda.h>

#include <span>

#include "emulator/context.hpp"
#include "emulator/module.hpp"
#include "emulator/work.hpp"

namespace fico::emulator {

struct LaunchShape {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes = 0;
};

/// Copies the parameters and checks the launch against the device and the context it runs in:
/// INVALID_VALUE, INVALID_CLUSTER_SIZE, COOPERATIVE_LAUNCH_TOO_LARGE.
Kernel make_kernel(Runtime& rt, Context& context, CUfunction function, const LaunchShape& shape,
                   void** params, void** extra, std::span<const CUlaunchAttribute> attributes,
                   int stream_priority);
/// The checks alone, after attributes have changed.
void check_launch(const Context& context, const Kernel& kernel);

/// Takes over the attributes that change how a kernel runs.
void apply_attributes(Kernel& kernel, int stream_priority);
const CUlaunchAttribute* find_attribute(const Kernel& kernel, CUlaunchAttributeID id);
void set_attribute(Kernel& kernel, CUlaunchAttributeID id, const CUlaunchAttributeValue& value);

}  // namespace fico::emulator
