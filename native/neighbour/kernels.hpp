// What the neighbours run, written in PTX so that no compiler is needed where Fico is installed,
// and as a module of the emulated device.
#pragma once

#include <string>
#include <string_view>

namespace fico::neighbour {

// fico_compute: every thread makes `rounds` x 32 fused multiply-adds in eight chains.
// fico_read: every thread reads `rounds` x 4 x 16 bytes, the blocks together going through a buffer
// of `mask` + 1 bytes (a power of two) again and again, past the first-level cache. Nothing is
// written unless a result has a value that it never has, so that no read can be left out.
// fico_copy: reads as fico_read does, and writes what it has read `mask` + 1 bytes further on.
inline constexpr const char* kPtx = R"(
.version 7.0
.target sm_70
.address_size 64

.visible .entry fico_compute(.param .u64 out, .param .u32 rounds)
{
  .reg .pred %p<3>;
  .reg .b32 %r<4>;
  .reg .b64 %rd<2>;
  .reg .f32 %f<12>;
  ld.param.u64 %rd0, [out];
  ld.param.u32 %r0, [rounds];
  mov.u32 %r1, %tid.x;
  cvt.rn.f32.u32 %f0, %r1;
  add.f32 %f1, %f0, 0f3F800000;
  add.f32 %f2, %f0, 0f40000000;
  add.f32 %f3, %f0, 0f40400000;
  add.f32 %f4, %f0, 0f40800000;
  add.f32 %f5, %f0, 0f40A00000;
  add.f32 %f6, %f0, 0f40C00000;
  add.f32 %f7, %f0, 0f40E00000;
  mov.f32 %f8, 0f3F7FFFFE;
  mov.f32 %f9, 0f3A83126F;
$compute_round:
)"
                                    R"(
  fma.rn.f32 %f0, %f0, %f8, %f9; fma.rn.f32 %f1, %f1, %f8, %f9;
  fma.rn.f32 %f2, %f2, %f8, %f9; fma.rn.f32 %f3, %f3, %f8, %f9;
  fma.rn.f32 %f4, %f4, %f8, %f9; fma.rn.f32 %f5, %f5, %f8, %f9;
  fma.rn.f32 %f6, %f6, %f8, %f9; fma.rn.f32 %f7, %f7, %f8, %f9;
  fma.rn.f32 %f0, %f0, %f8, %f9; fma.rn.f32 %f1, %f1, %f8, %f9;
  fma.rn.f32 %f2, %f2, %f8, %f9; fma.rn.f32 %f3, %f3, %f8, %f9;
  fma.rn.f32 %f4, %f4, %f8, %f9; fma.rn.f32 %f5, %f5, %f8, %f9;
  fma.rn.f32 %f6, %f6, %f8, %f9; fma.rn.f32 %f7, %f7, %f8, %f9;
  fma.rn.f32 %f0, %f0, %f8, %f9; fma.rn.f32 %f1, %f1, %f8, %f9;
  fma.rn.f32 %f2, %f2, %f8, %f9; fma.rn.f32 %f3, %f3, %f8, %f9;
  fma.rn.f32 %f4, %f4, %f8, %f9; fma.rn.f32 %f5, %f5, %f8, %f9;
  fma.rn.f32 %f6, %f6, %f8, %f9; fma.rn.f32 %f7, %f7, %f8, %f9;
  fma.rn.f32 %f0, %f0, %f8, %f9; fma.rn.f32 %f1, %f1, %f8, %f9;
  fma.rn.f32 %f2, %f2, %f8, %f9; fma.rn.f32 %f3, %f3, %f8, %f9;
  fma.rn.f32 %f4, %f4, %f8, %f9; fma.rn.f32 %f5, %f5, %f8, %f9;
  fma.rn.f32 %f6, %f6, %f8, %f9; fma.rn.f32 %f7, %f7, %f8, %f9;
  sub.u32 %r0, %r0, 1;
  setp.ne.u32 %p0, %r0, 0;
  @%p0 bra $compute_round;
  add.f32 %f0, %f0, %f1; add.f32 %f2, %f2, %f3; add.f32 %f4, %f4, %f5; add.f32 %f6, %f6, %f7;
  add.f32 %f0, %f0, %f2; add.f32 %f4, %f4, %f6; add.f32 %f0, %f0, %f4;
  setp.neu.f32 %p1, %f0, 0fC0000000;
  @%p1 bra $compute_end;
  st.global.f32 [%rd0], %f0;
$compute_end:
  ret;
}

.visible .entry fico_read(.param .u64 buffer, .param .u64 mask, .param .u64 first,
                          .param .u32 rounds)
{
  .reg .pred %p<3>;
  .reg .b32 %r<24>;
  .reg .b64 %rd<12>;
  ld.param.u64 %rd0, [buffer];
  ld.param.u64 %rd1, [mask];
  ld.param.u64 %rd2, [first];
  ld.param.u32 %r0, [rounds];
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %nctaid.x;
  mad.lo.u32 %r1, %r3, %r2, %r1;
  mul.wide.u32 %rd3, %r1, 16;
  add.u64 %rd2, %rd2, %rd3;
  mul.lo.u32 %r2, %r2, %r4;
  mul.wide.u32 %rd4, %r2, 16;
  mov.u32 %r5, 0;
$read_round:
  and.b64 %rd5, %rd2, %rd1;
  add.u64 %rd5, %rd5, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  and.b64 %rd6, %rd2, %rd1;
  add.u64 %rd6, %rd6, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  and.b64 %rd7, %rd2, %rd1;
  add.u64 %rd7, %rd7, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  and.b64 %rd8, %rd2, %rd1;
  add.u64 %rd8, %rd8, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  ld.global.cg.v4.u32 {%r6, %r7, %r8, %r9}, [%rd5];
  ld.global.cg.v4.u32 {%r10, %r11, %r12, %r13}, [%rd6];
  ld.global.cg.v4.u32 {%r14, %r15, %r16, %r17}, [%rd7];
  ld.global.cg.v4.u32 {%r18, %r19, %r20, %r21}, [%rd8];
  xor.b32 %r6, %r6, %r7; xor.b32 %r8, %r8, %r9; xor.b32 %r10, %r10, %r11;
  xor.b32 %r12, %r12, %r13; xor.b32 %r14, %r14, %r15; xor.b32 %r16, %r16, %r17;
  xor.b32 %r18, %r18, %r19; xor.b32 %r20, %r20, %r21;
  xor.b32 %r6, %r6, %r8; xor.b32 %r10, %r10, %r12; xor.b32 %r14, %r14, %r16;
  xor.b32 %r18, %r18, %r20; xor.b32 %r6, %r6, %r10; xor.b32 %r14, %r14, %r18;
  xor.b32 %r6, %r6, %r14;
  xor.b32 %r5, %r5, %r6;
  sub.u32 %r0, %r0, 1;
  setp.ne.u32 %p0, %r0, 0;
  @%p0 bra $read_round;
  setp.ne.u32 %p1, %r5, 0xC0FFEE01;
  @%p1 bra $read_end;
  st.global.u32 [%rd0], %r5;
$read_end:
  ret;
}
)"
                                    R"(
.visible .entry fico_copy(.param .u64 buffer, .param .u64 mask, .param .u64 first,
                          .param .u32 rounds)
{
  .reg .pred %p<1>;
  .reg .b32 %r<20>;
  .reg .b64 %rd<14>;
  ld.param.u64 %rd0, [buffer];
  ld.param.u64 %rd1, [mask];
  ld.param.u64 %rd2, [first];
  ld.param.u32 %r0, [rounds];
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ntid.x;
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %nctaid.x;
  mad.lo.u32 %r1, %r3, %r2, %r1;
  mul.wide.u32 %rd3, %r1, 16;
  add.u64 %rd2, %rd2, %rd3;
  mul.lo.u32 %r2, %r2, %r4;
  mul.wide.u32 %rd4, %r2, 16;
  add.u64 %rd5, %rd0, %rd1;
  add.u64 %rd5, %rd5, 1;
$copy_round:
  and.b64 %rd6, %rd2, %rd1;
  add.u64 %rd7, %rd6, %rd5;
  add.u64 %rd6, %rd6, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  and.b64 %rd8, %rd2, %rd1;
  add.u64 %rd9, %rd8, %rd5;
  add.u64 %rd8, %rd8, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  and.b64 %rd10, %rd2, %rd1;
  add.u64 %rd11, %rd10, %rd5;
  add.u64 %rd10, %rd10, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  and.b64 %rd12, %rd2, %rd1;
  add.u64 %rd13, %rd12, %rd5;
  add.u64 %rd12, %rd12, %rd0;
  add.u64 %rd2, %rd2, %rd4;
  ld.global.cg.v4.u32 {%r4, %r5, %r6, %r7}, [%rd6];
  ld.global.cg.v4.u32 {%r8, %r9, %r10, %r11}, [%rd8];
  ld.global.cg.v4.u32 {%r12, %r13, %r14, %r15}, [%rd10];
  ld.global.cg.v4.u32 {%r16, %r17, %r18, %r19}, [%rd12];
  st.global.cg.v4.u32 [%rd7], {%r4, %r5, %r6, %r7};
  st.global.cg.v4.u32 [%rd9], {%r8, %r9, %r10, %r11};
  st.global.cg.v4.u32 [%rd11], {%r12, %r13, %r14, %r15};
  st.global.cg.v4.u32 [%rd13], {%r16, %r17, %r18, %r19};
  sub.u32 %r0, %r0, 1;
  setp.ne.u32 %p0, %r0, 0;
  @%p0 bra $copy_round;
  ret;
}
)";

// The entry for a kind of work.
inline const char* entry_of(std::string_view kind) {
  if (kind == "compute") return "fico_compute";
  return kind == "copy" ? "fico_copy" : "fico_read";
}

// The same on the emulated device, for one kind of work. It asks for the part `strength` of its
// resource, as one that runs on this part of the SMs does, and is slowed down by whoever takes it.
// A launch is long, so that waiting for the machine between two of them does not count.
inline std::string emulated_module(const std::string& kind, double strength) {
  const std::string_view own = kind == "copy" ? "memory" : std::string_view{kind};
  std::string pressure;
  std::string sensitivity;
  for (const std::string_view resource : {"compute", "memory", "l2"}) {
    const bool is_own = resource == own;
    pressure += (pressure.empty() ? "" : ",") + (is_own ? std::to_string(strength) : "0");
    sensitivity += (sensitivity.empty() ? "" : ",") + std::string(is_own ? "1" : "0");
  }
  return "fico-emulated-module\nkernel " + std::string(entry_of(kind)) +
         " op=spin params=" + (kind == "compute" ? "8,4" : "8,8,8,4") +
         " us_per_block=1000 pressure=" + pressure + " sensitivity=" + sensitivity + "\n";
}

}  // namespace fico::neighbour
