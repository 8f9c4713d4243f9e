// Without vector instructions: fused multiply-adds may be calls of fmaf. For reading, for other processors, and to
// compare the others with.
#include "math_levels.h"
#define MATH_TABLE ck_math_portable
#include "math.inc"

const struct ck_math *ck_math_at(int level) {
#if defined(__x86_64__)
  if (level >= 2) return &ck_math_avx512;
  if (level == 1) return &ck_math_avx2;
#endif
  (void)level;
  return &ck_math_portable;
}
