// The library that a tool puts into every program that uses CUDA.
#pragma once

namespace fico::emulator {

/// Loads the library that CUDA_INJECTION64_PATH names and calls its `int InitializeInjection()`,
/// once in the process; other threads wait until that is done. The library may call the driver.
/// One that cannot be loaded is reported on stderr in one line, and all else goes on.
void inject_once();

}  // namespace fico::emulator
