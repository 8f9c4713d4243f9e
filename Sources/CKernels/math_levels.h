// The tables of the levels; not seen from Swift.
#ifndef MATH_LEVELS_H
#define MATH_LEVELS_H

#include "CKernelsMath.h"
#include "numbers.h"

extern const struct ck_math ck_math_portable;
#if defined(__x86_64__)
extern const struct ck_math ck_math_avx2;
extern const struct ck_math ck_math_avx512;
#endif

#endif
