#include "cuda/driver.hpp"

namespace fico::cuda {
namespace {
Driver entries;
}

const Driver& driver() { return entries; }

void load_driver(void* handle, void* (*find)(void*, const char*)) {
#define FICO_DRIVER_LOAD(member, type, symbol) \
  entries.member = reinterpret_cast<type>(find(handle, symbol));
  FICO_DRIVER(FICO_DRIVER_LOAD)
#undef FICO_DRIVER_LOAD
}

}  // namespace fico::cuda
