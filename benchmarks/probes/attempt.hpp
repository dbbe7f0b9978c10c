// What a probe does with a call that fails: it says so. TRY goes on, since each answer of such a
// probe is a fact of its own; MUST ends the process.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>
#include <unistd.h>

#include <cstdio>

inline bool has_failed(CUresult result, int line, const char* call) {
  if (result != CUDA_SUCCESS) printf("  ! line %d: %s -> %d\n", line, call, result);
  return result != CUDA_SUCCESS;
}
inline bool has_failed(cudaError_t result, int line, const char* call) {
  if (result != cudaSuccess)
    printf("  ! line %d: %s: %s\n", line, call, cudaGetErrorString(result));
  return result != cudaSuccess;
}

#define TRY(call) (void)has_failed((call), __LINE__, #call)
// Without what the process would do at its end: a child must not write its parent's output again.
#define MUST(call)                             \
  do {                                         \
    if (has_failed((call), __LINE__, #call)) { \
      fflush(stdout);                          \
      _exit(1);                                \
    }                                          \
  } while (0)
