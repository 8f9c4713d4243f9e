#include "CKernelsChecksum.h"
#include "CKernels.h"

// Sixteen bytes are a polynomial of degree 127 over two elements, and what lies a distance of d bits ahead of the rest can
// be replaced by its product with x^d modulo the CRC's polynomial. The method, for bits in reversed order: V. Gopal and
// others, Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction, Intel 2009.
#if defined(__x86_64__)
#include <immintrin.h>

#define FOLD __attribute__((target("pclmul,sse4.1")))

int ck_has_crc32_fold(void) { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

FOLD static inline __m128i fold(__m128i ahead, __m128i next, __m128i factors) {
  const __m128i low = _mm_clmulepi64_si128(ahead, factors, 0x00), high = _mm_clmulepi64_si128(ahead, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

FOLD static void fold_narrow(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]) {
  // x^(512+32), x^(512-32); x^(128+32), x^(128-32) modulo the polynomial, reversed and shifted by one.
  const __m128i by512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  __m128i lanes[4];
  for (int lane = 0; lane < 4; lane++) lanes[lane] = _mm_loadu_si128((const __m128i *)bytes + lane);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128((int)state));
  for (size_t i = 64; i < n; i += 64) {
    for (int lane = 0; lane < 4; lane++) {
      lanes[lane] = fold(lanes[lane], _mm_loadu_si128((const __m128i *)(bytes + i) + lane), by512);
    }
  }
  __m128i rest = lanes[0];
  for (int lane = 1; lane < 4; lane++) rest = fold(rest, lanes[lane], by128);
  _mm_storeu_si128((__m128i *)reduced, rest);
}

#define FOLD_WIDE __attribute__((target("pclmul,sse4.1,avx512f,vpclmulqdq")))

FOLD_WIDE static inline __m512i fold_four(__m512i ahead, __m512i next, __m512i factors) {
  const __m512i low = _mm512_clmulepi64_epi128(ahead, factors, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(ahead, factors, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

/// The same by 256 bytes at a time; n is at least 256.
FOLD_WIDE static void fold_wide(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]) {
  // x^(2048+32), x^(2048-32).
  const __m512i by2048 = _mm512_set4_epi64(0x1322d1430, 0x11542778a, 0x1322d1430, 0x11542778a);
  __m512i lanes[4];
  for (int lane = 0; lane < 4; lane++) lanes[lane] = _mm512_loadu_si512(bytes + 64 * lane);
  lanes[0] = _mm512_xor_si512(lanes[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
  size_t i = 256;
  for (; i + 256 <= n; i += 256) {
    for (int lane = 0; lane < 4; lane++) {
      lanes[lane] = fold_four(lanes[lane], _mm512_loadu_si512(bytes + i + 64 * lane), by2048);
    }
  }
  // These 256 bytes stand for all before them; what is left follows.
  uint8_t rest[2 * 256];
  for (int lane = 0; lane < 4; lane++) _mm512_storeu_si512(rest + 64 * lane, lanes[lane]);
  __builtin_memcpy(rest + 256, bytes + i, n - i);
  fold_narrow(0, rest, 256 + n - i, reduced);
}

void ck_crc32_fold(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]) {
  const int is_wide = ck_best_level() >= ck_level_avx512 && __builtin_cpu_supports("vpclmulqdq");
  if (is_wide && n >= 256) fold_wide(state, bytes, n, reduced);
  else fold_narrow(state, bytes, n, reduced);
}
#else
int ck_has_crc32_fold(void) { return 0; }
void ck_crc32_fold(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]) {
  (void)state, (void)bytes, (void)n, (void)reduced;
  __builtin_trap();
}
#endif
