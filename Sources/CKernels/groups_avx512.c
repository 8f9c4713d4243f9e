#include "CKernelsGroups.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#define GROUPS_TABLE ck_groups_avx512
#include "groups.inc"
#pragma clang attribute pop
#endif
