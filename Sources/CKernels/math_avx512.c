#include "math_levels.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#define MATH_TABLE ck_math_avx512
#define NUMBERS_TABLE ck_numbers_avx512
// Twenty-four accumulators of sixteen lanes, two registers of weights, one of activations: of thirty-two.
#define TILE_TOKENS 12
#define TILE_OUTPUTS 32
#include "math.inc"
#pragma clang attribute pop
#endif
