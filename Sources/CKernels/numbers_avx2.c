#include "numbers.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define NUMBERS_TABLE ck_numbers_avx2
#include "numbers.inc"
#pragma clang attribute pop
#endif
