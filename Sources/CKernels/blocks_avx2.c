#include "blocks.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define BLOCKS_TABLE ck_blocks_avx2
#define LANES 16
#include "blocks_level.inc"
#pragma clang attribute pop
#endif
