#include "CKernelsNumbers.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define INTEGERS_TABLE ck_integers_avx2
#include "integers.inc"
#pragma clang attribute pop
#endif
