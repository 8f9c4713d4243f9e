#include "numbers.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#define NUMBERS_TABLE ck_numbers_avx512
#include "numbers.inc"
#pragma clang attribute pop
#endif
