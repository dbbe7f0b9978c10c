// The way in: dlsym, which every program without a direct link uses, and the exported cu* symbols.
#pragma once

namespace fico::hook {

// The C library's dlsym, found once.
void* real_dlsym(void* handle, const char* name);

// Its address, by which a library that was bound past ours is known.
void* dlsym_of_libc();

// Whether an address lies in libcuda.so.1 as the dynamic linker loaded it.
bool is_in_driver(const void* address);

}  // namespace fico::hook
