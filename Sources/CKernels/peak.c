// Loops of independent products on registers: what the units of each level give at most.
#include "CKernelsProduct.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define UNROLLED _Pragma("clang loop unroll(full)")
/// Enough chains for any unit's latency.
#define CHAINS 12
/// The compiler must neither join nor drop what it cannot see the use of.
#define KEEP(vector) __asm__ volatile("" : "+v"(vector))

__attribute__((target("avx2,fma"))) static float run_avx2(size_t rounds) {
  __m256 sum[CHAINS];
  const __m256 x = _mm256_set1_ps(0.5f), w = _mm256_set1_ps(0.25f);
  UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_ps((float)i);
  for (size_t r = 0; r < rounds; r++) {
    UNROLLED for (int i = 0; i < CHAINS; i++) {
      sum[i] = _mm256_fmadd_ps(x, w, sum[i]);
      KEEP(sum[i]);
    }
  }
  float total = 0;
  UNROLLED for (int i = 0; i < CHAINS; i++) total += sum[i][0];
  return total;
}

__attribute__((target("avx512f"))) static float run_avx512(size_t rounds) {
  __m512 sum[CHAINS];
  const __m512 x = _mm512_set1_ps(0.5f), w = _mm512_set1_ps(0.25f);
  UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
  for (size_t r = 0; r < rounds; r++) {
    UNROLLED for (int i = 0; i < CHAINS; i++) {
      sum[i] = _mm512_fmadd_ps(x, w, sum[i]);
      KEEP(sum[i]);
    }
  }
  float total = 0;
  UNROLLED for (int i = 0; i < CHAINS; i++) total += sum[i][0];
  return total;
}

__attribute__((target("avx512f,avx512bf16"))) static float run_avx512_bf16(size_t rounds) {
  __m512 sum[CHAINS];
  const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3F00), w = (__m512bh)_mm512_set1_epi16(0x3E80);
  UNROLLED for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
  for (size_t r = 0; r < rounds; r++) {
    UNROLLED for (int i = 0; i < CHAINS; i++) {
      sum[i] = _mm512_dpbf16_ps(sum[i], x, w);
      KEEP(sum[i]);
    }
  }
  float total = 0;
  UNROLLED for (int i = 0; i < CHAINS; i++) total += sum[i][0];
  return total;
}

/// Six registers of sums in turn; two hold the operands.
__attribute__((target("amx-tile,amx-bf16"))) static float run_amx(size_t rounds) {
  float total[256];
  ck_product_at(4, 1)->begin();
  _tile_zero(0), _tile_zero(1), _tile_zero(2), _tile_zero(3), _tile_zero(4), _tile_zero(5), _tile_zero(6), _tile_zero(7);
  for (size_t r = 0; r < rounds; r++) {
    _tile_dpbf16ps(0, 6, 7), _tile_dpbf16ps(1, 6, 7), _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7), _tile_dpbf16ps(4, 6, 7), _tile_dpbf16ps(5, 6, 7);
  }
  _tile_stored(0, total, 64);
  ck_product_at(4, 1)->end();
  return total[0];
}

double ck_peak_operations(int level, enum ck_arithmetic arithmetic) {
  if (arithmetic == ck_arithmetic_float32) return level >= 2 ? 2.0 * 16 * CHAINS : level == 1 ? 2.0 * 8 * CHAINS : 0;
  return level >= 4 ? 6.0 * 2 * 16 * 16 * 32 : level == 3 ? 2.0 * 32 * CHAINS : 0;
}

float ck_peak_run(int level, enum ck_arithmetic arithmetic, size_t rounds) {
  if (arithmetic == ck_arithmetic_float32) {
    return level >= 2 ? run_avx512(rounds) : level == 1 ? run_avx2(rounds) : 0;
  }
  return level >= 4 ? run_amx(rounds) : level == 3 ? run_avx512_bf16(rounds) : 0;
}
#else
double ck_peak_operations(int level, enum ck_arithmetic arithmetic) { return (void)level, (void)arithmetic, 0; }
float ck_peak_run(int level, enum ck_arithmetic arithmetic, size_t rounds) {
  return (void)level, (void)arithmetic, (void)rounds, 0;
}
#endif
