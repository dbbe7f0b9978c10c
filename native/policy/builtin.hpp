// The policies that there are: each in a file of its own.
#pragma once

#include "policy/policy.hpp"

namespace fico::policy {

PolicyInfo fico();
PolicyInfo mps();
PolicyInfo mps_quota();
PolicyInfo static_slices();
PolicyInfo timeslice();
PolicyInfo reef();
PolicyInfo krisp();
PolicyInfo orion();
PolicyInfo lithos();

}  // namespace fico::policy
