#include "math_levels.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define MATH_TABLE ck_math_avx2
#define NUMBERS_TABLE ck_numbers_avx2
// Twelve accumulators of eight lanes, two registers of weights, one of activations: fifteen of sixteen.
#define TILE_TOKENS 6
#define TILE_OUTPUTS 16
#include "math.inc"
#pragma clang attribute pop
#endif
