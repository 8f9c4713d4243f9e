// Groups of integers that share a scale and a zero point: value = (code - zero) * scale. Every function gives the same bytes
// at every level.
#ifndef CKERNELS_GROUPS_H
#define CKERNELS_GROUPS_H

#include <stddef.h>
#include <stdint.h>

#include "CKernelsNumbers.h"

/// How the codes of a group become values, and which codes there are.
struct ck_group {
  float scale, zero, low, high;
};

/// What rounding did to a group, in the values' units.
struct ck_group_measures {
  /// Sums of x^2 and of (x - value)^2.
  double signal, error;
  /// The largest |x - value|.
  float largest;
  /// Elements more than half a step beyond the codes.
  size_t saturated;
};

/// One table per level.
struct ck_groups {
  /// code = rint(clamp(x / scale + zero, low, high)), quotient and sum in binary32. The elements are finite.
  void (*quantize)(const float *x, size_t n, struct ck_group group, int8_t *codes);
  struct ck_group_measures (*measure)(const float *x, const int8_t *codes, size_t n, struct ck_group group);
  /// The largest |a - b|.
  float (*largest_difference)(const float *a, const float *b, size_t n);
  /// dst = (code - zero) * scale, the product rounded once.
  void (*dequantize)(const int8_t *codes, size_t n, float scale, float zero, float *dst);
  /// Of `count` pairs of scale and zero point the first with the least sum of weight * (x - value)^2. Null weights are ones.
  size_t (*search)(const float *x, const float *weights, size_t n, const float *scales, const float *zeros, size_t count,
                   float low, float high, float *error);
  /// Half-quadratic quantization: from the pair given, alternates between codes with a shrunken error and the zero point, or
  /// the scale where `moves_scale`, that fits them best. See the Swift side for the formulas.
  struct ck_group (*half_quadratic)(const float *x, size_t n, struct ck_group group, int moves_scale, int iterations,
                                    float beta, float growth);
};

const struct ck_groups *ck_groups_at(int level);

/// Scale, zero point and codes as compressed-tensors computes them: every step rounded to the format of the weights.
/// half_range: what the largest magnitude is divided by for symmetric codes.
struct ck_group ck_library_group(const float *x, size_t n, enum ck_format format, int symmetric, float low, float high,
                                 float half_range, int8_t *codes);

/// values[i] = (codes[i] - zeros[g]) * scales[g] with g = groups[i]; null zeros are 0.
void ck_dequantize_indexed(const int8_t *codes, size_t n, const int32_t *groups, const float *scales, const int8_t *zeros,
                           float *values);

/// Codes of one row as a bit string, `bits` 4 or 8, each code + 2^(bits - 1), the first lowest. Writes (n * bits + 7) / 8
/// bytes, unused bits zero.
void ck_pack_row(const int8_t *codes, size_t n, int bits, uint8_t *bytes);
void ck_unpack_row(const uint8_t *bytes, size_t n, int bits, int8_t *codes);

/// Words that hold one column of 32 / bits rows: field k of word i is codes[order[k] * stride + i] + bias, modulo 2^bits.
/// Rows from `rows` on are missing: their fields are zero.
void ck_pack_columns(const int8_t *codes, size_t stride, size_t rows, size_t n, int bits, const uint8_t *order, int bias,
                     uint32_t *words);
/// The inverse: code = field - bias, modulo 2^bits from -2^(bits - 1) on.
void ck_unpack_columns(const uint32_t *words, size_t rows, size_t n, int bits, const uint8_t *order, int bias,
                       int8_t *codes, size_t stride);

/// to[c * to_stride + r] = from[r * from_stride + c]
void ck_transpose_words(const uint32_t *from, size_t from_stride, size_t rows, size_t columns, uint32_t *to,
                        size_t to_stride);
void ck_transpose_halves(const uint16_t *from, size_t from_stride, size_t rows, size_t columns, uint16_t *to,
                         size_t to_stride);

#endif
