#include "CKernels.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t xgetbv0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

static enum ck_level detect(void) {
  uint32_t a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d)) return ck_level_scalar;
  const int osxsave = (c >> 27) & 1, avx = (c >> 28) & 1, fma = (c >> 12) & 1, f16c = (c >> 29) & 1;
  if (!(osxsave && avx && fma && f16c)) return ck_level_scalar;
  const uint64_t state = xgetbv0();
  if ((state & 0x6) != 0x6) return ck_level_scalar; // XMM and YMM state are saved by the system
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return ck_level_scalar;
  const int avx2 = (b >> 5) & 1;
  if (!avx2) return ck_level_scalar;
  const int f = (b >> 16) & 1, dq = (b >> 17) & 1, bw = (b >> 30) & 1, vl = (int)((b >> 31) & 1);
  if (f && dq && bw && vl && (state & 0xE6) == 0xE6) return ck_level_avx512; // opmask and ZMM state too
  return ck_level_avx2;
}
#else
static enum ck_level detect(void) { return ck_level_scalar; }
#endif

static _Atomic int limit = ck_level_avx512;

void ck_limit_level(enum ck_level level) { limit = (int)level; }

enum ck_level ck_best_level(void) {
  static _Atomic int cached = -1;
  int level = cached;
  if (level < 0) {
    level = (int)detect();
    cached = level; // idempotent: racing threads store the same value
  }
  return (enum ck_level)(level < limit ? level : limit);
}
