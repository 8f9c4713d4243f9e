#include "blocks.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#define BLOCKS_TABLE ck_blocks_avx512
#define LANES 32
#include "blocks_level.inc"
#pragma clang attribute pop
#endif
