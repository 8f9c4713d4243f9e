#include "blocks.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#define BLOCKS_TABLE ck_blocks_avx512
#define LANES 32
/// From a table of 32 numbers.
#define LOOK_UP(table, index) \
  ((f32x16)__builtin_ia32_vpermi2varps512(load16(table), (index), load16((table) + 16)))
#include "blocks_level.inc"
#pragma clang attribute pop
#endif
