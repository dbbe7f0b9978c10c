// Limits that a user may change by an environment variable.
#pragma once

#include <cstddef>

namespace fico::base {

// The number in the variable, or `usual` where it is not set. What is no number is reported, and
// `usual` holds.
std::size_t limit(const char* variable, std::size_t usual);

}  // namespace fico::base
