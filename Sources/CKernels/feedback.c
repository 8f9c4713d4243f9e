#include "CKernelsFeedback.h"

#define FEEDBACK_TABLE ck_feedbacks_scalar
#include "feedback.inc"

#if defined(__x86_64__)
extern const struct ck_feedbacks ck_feedbacks_avx2, ck_feedbacks_avx512;
#endif

const struct ck_feedbacks *ck_feedbacks_at(int level) {
#if defined(__x86_64__)
  if (level >= 2) return &ck_feedbacks_avx512;
  if (level == 1) return &ck_feedbacks_avx2;
#endif
  (void)level;
  return &ck_feedbacks_scalar;
}
