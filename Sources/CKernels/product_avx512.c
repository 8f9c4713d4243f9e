#include "product.h"
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#define PRODUCT_TABLE ck_product_avx512
#define NUMBERS_TABLE ck_numbers_avx512
// Twenty-four accumulators, four registers of weights, one of activations: of thirty-two. Six tokens by four vectors
// need ten loads for twenty-four products; twelve by two would need fourteen and was a tenth slower.
#define TILE_TOKENS 6
#define TILE_OUTPUTS 64
#include "product_f32.inc"
#pragma clang attribute pop
#endif
