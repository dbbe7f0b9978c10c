// What reaches the driver past the interception: found, counted and named, so that it is never
// silent.
#pragma once

namespace fico::hook {

// The address to hand to a program that asked for a driver entry and got `address`: the wrapper if
// it is intercepted, else `address` itself. A name that belongs to the table but an address that
// does not, or a name that this version does not know at all, is counted.
void* covered(const char* name, void* address);

// Looks through the libraries that are loaded for calls that were bound past the preload (a library
// opened with RTLD_DEEPBIND, or with its own copy of the driver's path). Cheap unless libraries
// have been loaded since the last time.
void scan_coverage();

}  // namespace fico::hook
