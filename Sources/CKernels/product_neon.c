#include "product.h"
#if defined(__aarch64__)
#define PRODUCT_TABLE ck_product_neon
#define NUMBERS_TABLE ck_numbers_scalar
// Twenty-four accumulators of four lanes, four registers of weights, one of activations: of thirty-two.
#define TILE_TOKENS 6
#define TILE_OUTPUTS 16
#include "product_f32.inc"
#endif
