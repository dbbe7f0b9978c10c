// The scheduler and the simulator for Python.
#pragma once

#include <nanobind/nanobind.h>

namespace fico::bindings {

void add_scheduling(nanobind::module_& m);

}  // namespace fico::bindings
