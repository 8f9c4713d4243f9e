// ggml's block types: so many elements of a row in so many bytes, with scales of their own. Every function gives the
// same bytes at every level. The arithmetic is in formats/ggml-blocks.md.
#ifndef CKERNELS_BLOCKS_H
#define CKERNELS_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

enum __attribute__((enum_extensibility(closed))) ck_block {
  ck_block_q4_0 = 0,
  ck_block_q4_1 = 1,
  ck_block_q5_0 = 2,
  ck_block_q5_1 = 3,
  ck_block_q8_0 = 4,
  ck_block_iq4_nl = 5,
  ck_block_q4_k = 6,
  ck_block_q5_k = 7,
  ck_block_q6_k = 8,
  ck_block_mxfp4 = 9,
  ck_block_nvfp4 = 10,
  // From here on only dequantized.
  ck_block_q2_k = 11,
  ck_block_q3_k = 12,
  ck_block_iq4_xs = 13,
  ck_block_q1_0 = 14,
  ck_block_q2_0 = 15,
  ck_block_tq1_0 = 16,
  ck_block_tq2_0 = 17,
};

/// One table per level.
struct ck_blocks {
  /// Quantizes rows [rows][columns]; columns is a multiple of the type's elements per block. `column_weights`, if not
  /// null, has one weight per column: the importance of an error there. Blocks with a NaN or infinity get meaningless
  /// codes, the same at every level. Does nothing for types that are only dequantized.
  void (*quantize)(enum ck_block type, const float *x, size_t rows, size_t columns, const float *column_weights,
                   uint8_t *blocks);
  /// Dequantizes whole blocks: elements is a multiple of the type's elements per block. Any bytes are allowed.
  void (*dequantize)(enum ck_block type, const uint8_t *blocks, size_t elements, float *x);
};

/// Index of the first block with a scale or offset that is NaN or infinite, or -1.
ptrdiff_t ck_first_nonfinite_scale(enum ck_block type, const uint8_t *blocks, size_t count);

/// The table of a level, 0 scalar, 1 AVX2, 2 AVX-512; levels that are not compiled in give the scalar one.
const struct ck_blocks *ck_blocks_at(int level);

#endif
