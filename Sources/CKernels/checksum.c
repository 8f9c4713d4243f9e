#include "CKernelsChecksum.h"

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

FOLD void ck_crc32_fold(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]) {
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
#else
int ck_has_crc32_fold(void) { return 0; }
void ck_crc32_fold(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]) {
  (void)state, (void)bytes, (void)n, (void)reduced;
  __builtin_trap();
}
#endif
