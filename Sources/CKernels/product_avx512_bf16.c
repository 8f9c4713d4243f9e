// Products of pairs of BF16 values by AVX-512's dot product, in one term on both sides. Two terms would take as long as
// binary32, whose sums are the same on all levels, so `exact` stays with those.
#include "product.h"
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(                                                                                \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"))), apply_to = function)
#define NUMBERS_TABLE ck_numbers_avx512
#define TILE_TOKENS 6
#define TILE_OUTPUTS 64
#define OUTPUT_STRIDE TILE_OUTPUTS
#define OUTPUT_WORDS(packed, chunk, term, terms, first) ((packed) + 16 * (chunk) * TILE_OUTPUTS + (first))
#include "product_pairs.inc"

#define VECTORS (TILE_OUTPUTS / 16)

/// Packed as [pair][TILE_TOKENS] words.
static void pack_tokens(const float *x, size_t stride, size_t count, size_t k, int terms, void *packed) {
  (void)terms;
  uint16_t rows[TILE_TOKENS][2][BLOCK];
  for (size_t t = 0; t < TILE_TOKENS; t++) {
    if (t < count) {
      split_row(x + t * stride, k, 1, rows[t]);
    } else {
      __builtin_memset(rows[t][0], 0, sizeof rows[t][0]);
    }
  }
  uint32_t *to = packed;
  for (size_t pair = 0; pair < (k + 31) / 32 * 16; pair++, to += TILE_TOKENS) {
    UNROLLED for (size_t t = 0; t < TILE_TOKENS; t++) __builtin_memcpy(to + t, rows[t][0] + 2 * pair, 4);
  }
}

static void tile(const void *a_panel, int a_terms, const void *b_panel, int b_terms, size_t k, float *out,
                 size_t stride, size_t tokens, size_t outputs, int accumulates) {
  (void)a_terms, (void)b_terms;
  const uint32_t *a = a_panel, *b = b_panel;
  float edge[TILE_TOKENS * TILE_OUTPUTS];
  const int whole = tokens == TILE_TOKENS && outputs == TILE_OUTPUTS;
  float *const sums = whole ? out : edge;
  const size_t width = whole ? stride : TILE_OUTPUTS;
  if (!whole && accumulates) take_edge(edge, out, stride, tokens, outputs);
  __m512 sum[TILE_TOKENS][VECTORS];
  UNROLLED for (size_t t = 0; t < TILE_TOKENS; t++) {
    UNROLLED for (size_t v = 0; v < VECTORS; v++) {
      sum[t][v] = _mm512_setzero_ps();
      // The outputs come from the third-level cache, and are there when the sums are.
      if (accumulates) __builtin_prefetch(sums + t * width + 16 * v, 1);
    }
  }
  for (size_t pair = 0; pair < (k + 1) / 2; pair++, a += TILE_TOKENS, b += TILE_OUTPUTS) {
    __m512bh w[VECTORS];
    UNROLLED for (int v = 0; v < VECTORS; v++) w[v] = (__m512bh)_mm512_loadu_si512(b + 16 * v);
    UNROLLED for (int t = 0; t < TILE_TOKENS; t++) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[t]);
      UNROLLED for (int v = 0; v < VECTORS; v++) sum[t][v] = _mm512_dpbf16_ps(sum[t][v], x, w[v]);
    }
  }
  UNROLLED for (size_t t = 0; t < TILE_TOKENS; t++) {
    UNROLLED for (size_t v = 0; v < VECTORS; v++) {
      float *const to = sums + t * width + 16 * v;
      const f32x16 s = (f32x16)sum[t][v];
      store(to, accumulates ? load(to) + s : s);
    }
  }
  if (!whole) give_edge(edge, out, stride, tokens, outputs);
}

const struct ck_product ck_product_avx512_bf16 = {
    .tile_tokens = TILE_TOKENS,
    .tile_outputs = TILE_OUTPUTS,
    .block = BLOCK,
    .step = 32,
    .value_bytes = 2,
    .pack_tokens = pack_tokens,
    .pack_outputs = pack_outputs,
    .pack_columns = pack_columns,
    .tile = tile,
};
#pragma clang attribute pop
#endif
