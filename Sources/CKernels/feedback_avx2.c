#include "CKernelsFeedback.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define FEEDBACK_TABLE ck_feedbacks_avx2
#include "feedback.inc"
#pragma clang attribute pop
#endif
