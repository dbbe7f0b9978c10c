#include "hook/preload.hpp"

#include <dlfcn.h>

#include <atomic>
#include <cstring>

#include "hook/coverage.hpp"
#include "hook/table.hpp"

namespace fico::hook {
namespace {

using Dlsym = void* (*)(void*, const char*);

// A sanitizer's run-time looks symbols up before it can check anything.
#define FICO_BEFORE_SANITIZERS __attribute__((no_sanitize("address", "undefined", "thread")))

// Each architecture's first version, and 2.34, since when it lives in libc itself.
constexpr const char* kVersions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"};

FICO_BEFORE_SANITIZERS Dlsym find_dlsym() {
  for (const char* version : kVersions) {
    if (void* found = dlvsym(RTLD_NEXT, "dlsym", version); found != nullptr) {
      return reinterpret_cast<Dlsym>(found);
    }
  }
  return nullptr;
}

}  // namespace

// Where the assembler below goes on to; set before it is used.
extern "C" {
__attribute__((visibility("hidden"))) Dlsym fico_real_dlsym = nullptr;
}

void* real_dlsym(void* handle, const char* name) {
  if (fico_real_dlsym == nullptr) fico_real_dlsym = find_dlsym();
  return fico_real_dlsym != nullptr ? fico_real_dlsym(handle, name) : nullptr;
}

void* dlsym_of_libc() { return reinterpret_cast<void*>(fico_real_dlsym); }

bool is_in_driver(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return false;
  const char* slash = std::strrchr(info.dli_fname, '/');
  return std::strncmp(slash != nullptr ? slash + 1 : info.dli_fname, "libcuda.so", 10) == 0;
}

// What dlsym answers for a driver entry, or nullptr to let the C library answer. Sets
// fico_real_dlsym.
extern "C" FICO_BEFORE_SANITIZERS __attribute__((visibility("hidden"), used)) void*
fico_answer_dlsym(void* handle, const char* name) {
  if (fico_real_dlsym == nullptr) fico_real_dlsym = find_dlsym();
  if (name == nullptr || name[0] != 'c' || name[1] != 'u') return nullptr;
  // RTLD_NEXT means "after the caller", which only the C library can tell; nobody asks for the
  // driver so.
  if (handle == RTLD_NEXT || fico_real_dlsym == nullptr) return nullptr;
  void* address = fico_real_dlsym(handle, name);
  if (address == nullptr) return nullptr;
  if (void* wrapper = wrapper_of(address); wrapper != nullptr) return wrapper;
  return is_in_driver(address) ? covered(name, address) : nullptr;
}

}  // namespace fico::hook

// dlsym itself. It goes on to the C library's with a jump, as if it had been called directly,
// because RTLD_NEXT and RTLD_DEFAULT depend on who calls.
#if defined(__x86_64__)
asm(R"(
  .text
  .globl dlsym
  .type dlsym, @function
dlsym:
  endbr64
  pushq %rdi
  pushq %rsi
  subq $8, %rsp
  call fico_answer_dlsym
  addq $8, %rsp
  popq %rsi
  popq %rdi
  testq %rax, %rax
  jne 1f
  movq fico_real_dlsym(%rip), %r11
  testq %r11, %r11
  je 1f
  jmp *%r11
1:
  ret
  .size dlsym, .-dlsym
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl dlsym
  .type dlsym, %function
dlsym:
  stp x29, x30, [sp, #-32]!
  stp x0, x1, [sp, #16]
  bl fico_answer_dlsym
  mov x9, x0
  ldp x0, x1, [sp, #16]
  ldp x29, x30, [sp], #32
  cbnz x9, 1f
  adrp x10, fico_real_dlsym
  ldr x10, [x10, :lo12:fico_real_dlsym]
  cbz x10, 1f
  br x10
1:
  mov x0, x9
  ret
  .size dlsym, .-dlsym
)");
#else
#error "the preload entry is written for x86-64 and aarch64"
#endif
