#include "math_levels.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define MATH_TABLE ck_math_avx2
#include "math.inc"
#pragma clang attribute pop
#endif
