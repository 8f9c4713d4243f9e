// The matrix product without vector instructions: the definition that the other levels are compared with.
#include "product.h"
#define PRODUCT_TABLE ck_product_portable
#define NUMBERS_TABLE ck_numbers_scalar
#define TILE_TOKENS 4
#define TILE_OUTPUTS 16
#include "product_f32.inc"

const struct ck_product *ck_product_at(int level, int exact) {
#if defined(__x86_64__)
  if (level >= 4) return &ck_product_amx;
  if (level == 3 && !exact) return &ck_product_avx512_bf16;
  if (level >= 2) return &ck_product_avx512;
  if (level == 1) return &ck_product_avx2;
#elif defined(__aarch64__)
  if (level > 0) return &ck_product_neon;
#endif
  (void)level, (void)exact;
  return &ck_product_portable;
}

const struct ck_product *ck_product_tile_model(void) { return &ck_product_tile_portable; }
