// The level without vector instructions.
#include "blocks.h"
#include "blocks_dequantize.inc"

static void quantize(enum ck_block type, const float *x, size_t rows, size_t columns, const float *column_weights,
                     uint8_t *blocks) {
  ck_quantize_rows(ck_scalar_encoders, type, x, rows, columns, column_weights, blocks);
}

const struct ck_blocks ck_blocks_scalar = {.quantize = quantize, .dequantize = dequantize};
