#include "CKernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static uint64_t xgetbv0(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

/// Linux saves the tiles only of processes that have asked for it: ARCH_REQ_XCOMP_PERM for XTILEDATA.
static int may_use_tiles(void) {
#if defined(__linux__)
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return 0;
#endif
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
  if (!(f && dq && bw && vl && (state & 0xE6) == 0xE6)) return ck_level_avx2; // opmask and ZMM state too
  const int amx_bf16 = (d >> 22) & 1, amx_tile = (d >> 24) & 1;
  const int has_more = a >= 1;
  if (!has_more || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !((a >> 5) & 1)) return ck_level_avx512;
  if (amx_bf16 && amx_tile && (state & 0x60000) == 0x60000 && may_use_tiles()) return ck_level_amx;
  return ck_level_avx512_bf16;
}
#elif defined(__aarch64__)
static enum ck_level detect(void) { return ck_level_neon; } // part of the architecture
#else
static enum ck_level detect(void) { return ck_level_scalar; }
#endif

static enum ck_level detected(void) {
  static _Atomic int cached = -1;
  int level = cached;
  if (level < 0) {
    level = (int)detect();
    cached = level; // idempotent: racing threads store the same value
  }
  return (enum ck_level)level;
}

int ck_has_level(enum ck_level level) {
#if defined(__x86_64__)
  return level <= detected();
#else
  return level == ck_level_scalar || level == detected();
#endif
}

static _Atomic int limit = ck_level_neon;

void ck_limit_level(enum ck_level level) { limit = (int)level; }

enum ck_level ck_best_level(void) {
  const enum ck_level level = detected(), most = (enum ck_level)limit;
  if (level <= most) return level;
  return ck_has_level(most) ? most : ck_level_scalar; // NEON's number is behind those of sets that it does not have
}
