// The matrix product's inner kernels: operands are packed into panels, and a tile of outputs is computed from two panels.
// Each output element is one fixed sequence of operations, whatever tile it is computed in.
#ifndef CKERNELS_PRODUCT_H
#define CKERNELS_PRODUCT_H

#include <stddef.h>
#include <stdint.h>

#include "CKernelsNumbers.h"

/// A block of stored weights: `count` rows of `k` elements, and factors for runs of columns.
struct ck_weights {
  /// First element of the first row.
  const void *rows;
  enum ck_format format;
  /// From row to row, in bytes.
  size_t stride;
  size_t count, k;
  /// Null, or one factor per row and run of columns: scales[row * scale_stride + (first_column + i) / scale_run].
  const float *scales;
  size_t scale_stride, scale_run, first_column;
};

/// A value is packed in one term, rounded to BF16, or in two: as binary32 where products are made in binary32, else as the
/// BF16 terms hi = bf16(x) and lo = bf16(x - hi), which leave 2^-17 of x at most.
struct ck_product {
  /// Tokens and outputs of a tile.
  size_t tile_tokens, tile_outputs;
  /// Inputs that are multiplied at a time, and what the last of them are padded to, with zeros.
  size_t block, step;
  /// Bytes of a packed value, or of each of its terms when `splits`.
  size_t value_bytes;
  int splits;
  /// Null, or what a thread does before its first tile and behind its last one.
  void (*begin)(void);
  void (*end)(void);
  /// Packs x[count <= tile_tokens][k], row stride in floats; missing tokens are zeros.
  void (*pack_tokens)(const float *x, size_t stride, size_t count, size_t k, int terms, void *packed);
  /// Packs weights[count <= tile_outputs][k]; missing rows are zeros.
  void (*pack_outputs)(const struct ck_weights *weights, int terms, void *packed);
  /// The same of a transposed matrix: x[k][count <= tile_outputs], row stride in floats.
  void (*pack_columns)(const float *x, size_t stride, size_t count, size_t k, int terms, void *packed);
  /// out[t][o] (+)= sum over k of a[t][k] * b[o][k]; row stride in floats.
  void (*tile)(const void *a, int a_terms, const void *b, int b_terms, size_t k, float *out, size_t stride,
               size_t tokens, size_t outputs, int accumulates);
};

/// The kernel of a level for products in two terms (`exact`) or one. Levels that are not compiled in give the portable one.
const struct ck_product *ck_product_at(int level, int exact);

/// The tile kernel with its instructions written out in C: what `amx` is compared with, and tested by where it is missing.
const struct ck_product *ck_product_tile_model(void);

/// The units that rounds of independent products on registers are made on: the peak that a kernel is measured against.
enum __attribute__((enum_extensibility(closed))) ck_arithmetic { ck_arithmetic_float32 = 0, ck_arithmetic_bf16 = 1 };
/// Floating-point operations of a round, 0 when the level has no such unit.
double ck_peak_operations(int level, enum ck_arithmetic arithmetic);
/// Runs so many rounds; the result depends on all, so that none is left out.
float ck_peak_run(int level, enum ck_arithmetic arithmetic, size_t rounds);

#endif
