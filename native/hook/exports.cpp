// The intercepted entries under the names that libcuda.so.1 exports, for programs that are linked
// with it: one jump each to the wrapper. In assembler, because the names have the driver's own
// prototypes and versions (cuMemcpyHtoD_v2_ptds), which C++ could only repeat. The pointers are in
// table.cpp.

#if defined(__x86_64__)
#define FICO_EXPORT(symbol)                                            \
  asm(".text\n.globl " symbol "\n.type " symbol ", @function\n" symbol \
      ":\n  endbr64\n  jmp *fico_wrapper_of_" symbol "(%rip)\n.size " symbol ", .-" symbol "\n");
#elif defined(__aarch64__)
#define FICO_EXPORT(symbol)                                                                       \
  asm(".text\n.globl " symbol "\n.type " symbol ", %function\n" symbol                            \
      ":\n  adrp x16, fico_wrapper_of_" symbol "\n  ldr x16, [x16, :lo12:fico_wrapper_of_" symbol \
      "]\n  br x16\n.size " symbol ", .-" symbol "\n");
#endif

#define FICO_ENTRY(name, version, symbol, wrapper) FICO_EXPORT(#symbol)
#include "hook/entries.def"
#undef FICO_ENTRY
