// What the levels share: rows cut into blocks, and the weights of their elements.
#include "blocks.h"

#pragma STDC FP_CONTRACT OFF

const struct ck_block_shape ck_block_shapes[] = {
    [ck_block_q4_0] = {32, 18},   [ck_block_q4_1] = {32, 20},   [ck_block_q5_0] = {32, 22},
    [ck_block_q5_1] = {32, 24},   [ck_block_q8_0] = {32, 34},   [ck_block_iq4_nl] = {32, 18},
    [ck_block_q4_k] = {256, 144}, [ck_block_q5_k] = {256, 176}, [ck_block_q6_k] = {256, 210},
    [ck_block_mxfp4] = {32, 17},  [ck_block_nvfp4] = {64, 36},  [ck_block_q2_k] = {256, 84},
    [ck_block_q3_k] = {256, 110}, [ck_block_iq4_xs] = {256, 136}, [ck_block_q1_0] = {128, 18},
    [ck_block_q2_0] = {64, 18},   [ck_block_tq1_0] = {256, 54}, [ck_block_tq2_0] = {256, 66},
};

const int8_t ck_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t ck_fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const struct ck_group_encoder ck_scalar_encoders[CK_ENCODERS] = {
    [ck_block_q4_0] = {ck_encode_q4_0, 32},   [ck_block_q4_1] = {ck_encode_q4_1, 32},
    [ck_block_q5_0] = {ck_encode_q5_0, 32},   [ck_block_q5_1] = {ck_encode_q5_1, 32},
    [ck_block_q8_0] = {ck_encode_q8_0, 32},   [ck_block_iq4_nl] = {ck_encode_iq4_nl, 32},
    [ck_block_q4_k] = {ck_encode_q4_k, 256},  [ck_block_q5_k] = {ck_encode_q5_k, 256},
    [ck_block_q6_k] = {ck_encode_q6_k, 256},  [ck_block_mxfp4] = {ck_encode_mxfp4, 32},
    [ck_block_nvfp4] = {ck_encode_nvfp4, 64},
};

static float sum_of_squares(const float *x, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sum;
}

/// An element's weight is its column's, times a typical size: sqrt(variance + x^2). The variance is that of the row in
/// the types with one scale, twice that of the block in the others; Q6_K takes the column's weight alone.
static void weigh_block(enum ck_block type, const float *x, size_t n, const float *column_weights, float row_variance,
                        float *weights) {
  if (type == ck_block_q6_k) {
    __builtin_memcpy(weights, column_weights, n * sizeof(float));
    return;
  }
  const int has_row_variance = type <= ck_block_q5_1;
  const float variance = has_row_variance ? row_variance : 2 * sum_of_squares(x, n) / (float)n;
  for (size_t i = 0; i < n; i++) weights[i] = column_weights[i] * __builtin_sqrtf(variance + x[i] * x[i]);
}

static int ignores_weights(enum ck_block type) {
  return type == ck_block_q8_0 || type == ck_block_mxfp4 || type == ck_block_nvfp4;
}

void ck_quantize_rows(const struct ck_group_encoder groups[CK_ENCODERS], enum ck_block type, const float *x,
                      size_t rows, size_t columns, const float *column_weights, uint8_t *blocks) {
  if (type >= CK_ENCODERS) return;
  const struct ck_block_shape shape = ck_block_shapes[type];
  const struct ck_group_encoder group = groups[type];
  const int is_weighted = column_weights && !ignores_weights(type);
  float weights[CK_GROUP], row_variance = 0;
  for (size_t start = 0; start < rows * columns; start += group.elements) {
    const size_t left = rows * columns - start, count = left < group.elements ? left : group.elements;
    for (size_t i = 0; is_weighted && i < count; i += shape.elements) {
      const float *const block = x + start + i;
      const size_t column = (start + i) % columns;
      if (column == 0) row_variance = sum_of_squares(block, columns) / (float)columns;
      weigh_block(type, block, shape.elements, column_weights + column, row_variance, weights + i);
    }
    uint8_t *const out = blocks + start / shape.elements * shape.bytes;
    if (count == group.elements) {
      group.encode(x + start, is_weighted ? weights : NULL, out);
      continue;
    }
    float padded[CK_GROUP] = {0};
    uint8_t padded_blocks[CK_GROUP_BYTES];
    __builtin_memcpy(padded, x + start, count * sizeof(float));
    if (is_weighted) __builtin_memset(weights + count, 0, (group.elements - count) * sizeof(float));
    group.encode(padded, is_weighted ? weights : NULL, padded_blocks);
    __builtin_memcpy(out, padded_blocks, count / shape.elements * shape.bytes);
  }
}

void ck_quantize_scalar(enum ck_block type, const float *x, size_t elements, const float *weights, uint8_t *blocks) {
  const struct ck_block_shape shape = ck_block_shapes[type];
  for (size_t i = 0; i < elements; i += shape.elements) {
    ck_scalar_encoders[type].encode(x + i, weights ? weights + i : NULL, blocks);
    blocks += shape.bytes;
  }
}

ptrdiff_t ck_first_nonfinite_scale(enum ck_block type, const uint8_t *blocks, size_t count) {
  // Where a block's F16 numbers are.
  static const struct {
    uint8_t count, offset;
  } halves[] = {
      [ck_block_q4_0] = {1, 0},  [ck_block_q4_1] = {2, 0},  [ck_block_q5_0] = {1, 0},   [ck_block_q5_1] = {2, 0},
      [ck_block_q8_0] = {1, 0},  [ck_block_iq4_nl] = {1, 0}, [ck_block_q4_k] = {2, 0},  [ck_block_q5_k] = {2, 0},
      [ck_block_q6_k] = {1, 208}, [ck_block_mxfp4] = {0, 0}, [ck_block_nvfp4] = {0, 0}, [ck_block_q2_k] = {2, 80},
      [ck_block_q3_k] = {1, 108}, [ck_block_iq4_xs] = {1, 0}, [ck_block_q1_0] = {1, 0}, [ck_block_q2_0] = {1, 0},
      [ck_block_tq1_0] = {1, 52}, [ck_block_tq2_0] = {1, 64},
  };
  const size_t size = ck_block_shapes[type].bytes;
  for (size_t b = 0; b < count; b++) {
    const uint8_t *const block = blocks + b * size;
    if (type == ck_block_mxfp4 && block[0] == 255) return (ptrdiff_t)b;
    for (int i = 0; i < halves[type].count; i++) {
      if ((block[halves[type].offset + 2 * i + 1] & 0x7C) == 0x7C) return (ptrdiff_t)b;
    }
  }
  return -1;
}

const struct ck_blocks *ck_blocks_at(int level) {
#if defined(__x86_64__)
  if (level >= 2) return &ck_blocks_avx512;
  if (level == 1) return &ck_blocks_avx2;
#endif
  (void)level;
  return &ck_blocks_scalar;
}
