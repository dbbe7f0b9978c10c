// What the CUDA programs here share: every call is checked, and a failure ends the program.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>

inline void check(cudaError_t result, const char* file, int line) {
  if (result == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, cudaGetErrorString(result));
  std::exit(1);
}

#define CHECK(call) check((call), __FILE__, __LINE__)
