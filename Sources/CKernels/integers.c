#include "CKernelsNumbers.h"

#define INTEGERS_TABLE ck_integers_scalar
#include "integers.inc"

#if defined(__x86_64__)
extern const struct ck_integers ck_integers_avx2, ck_integers_avx512;
#endif

const struct ck_integers *ck_integers_at(int level) {
#if defined(__x86_64__)
  if (level >= 2) return &ck_integers_avx512;
  if (level == 1) return &ck_integers_avx2;
#endif
  (void)level;
  return &ck_integers_scalar;
}
