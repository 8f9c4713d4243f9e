#include "product.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#define PRODUCT_TABLE ck_product_avx2
#define NUMBERS_TABLE ck_numbers_avx2
// Twelve accumulators of eight lanes, two registers of weights, one of activations: fifteen of sixteen.
#define TILE_TOKENS 6
#define TILE_OUTPUTS 16
#include "product_f32.inc"
#pragma clang attribute pop
#endif
