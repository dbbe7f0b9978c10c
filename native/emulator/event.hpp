// Events.
#pragma once

#include <cuda.h>

#include <memory>
#include <vector>

#include "emulator/op.hpp"
#include "emulator/runtime.hpp"

namespace fico::emulator {

struct Event {
  Context* context = nullptr;
  unsigned flags = CU_EVENT_DEFAULT;
  /// The operation of the newest record; none before the first.
  OpRef record;
  /// The capture of the newest record, if it was captured, and the nodes it stands for.
  std::shared_ptr<Capture> capture;
  std::vector<Node*> nodes;
};

}  // namespace fico::emulator
