#include "CKernelsFeedback.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#define FEEDBACK_TABLE ck_feedbacks_avx512
#include "feedback.inc"
#pragma clang attribute pop
#endif
