// Number formats and the row-wise FP8 quantizer. Every function gives the same bytes at every level.
#ifndef CKERNELS_NUMBERS_H
#define CKERNELS_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

/// Element formats, little-endian. e4m3 is the "fn" kind: no infinities, largest 448, NaN 0x7F and 0xFF.
enum __attribute__((enum_extensibility(closed))) ck_format {
  ck_format_f32 = 0,
  ck_format_f16 = 1,
  ck_format_bf16 = 2,
  ck_format_e4m3 = 3,
  /// Two's complement: codes of integer quantizers.
  ck_format_i8 = 4,
};

/// How a row's scale is found and its elements are divided. A is the row's largest magnitude.
enum __attribute__((enum_extensibility(closed))) ck_fp8_arithmetic {
  /// scale = bf16(A / 448), 1 when that is zero; code = e4m3(x / scale) with the quotient in binary32.
  ck_fp8_arithmetic_grid_bf16 = 0,
  /// scale and quotient rounded to the given format; a zero scale becomes the format's epsilon.
  ck_fp8_arithmetic_steps_rounded = 1,
  /// scale = max(A / 448, 1 / (448 * 512)) in binary32; code = e4m3(x / scale).
  ck_fp8_arithmetic_floor = 2,
};

/// What one row gave besides its codes.
struct ck_fp8_row {
  float scale;
  /// Sums over the row, in units of scale squared: of (x/scale)^2 and of (x/scale - code)^2.
  double signal, error;
  /// The largest |x/scale - code|.
  float largest;
  /// Elements with |x/scale| > 448.
  size_t saturated;
  /// The largest magnitude was zero.
  int is_zero;
};

/// One table per level.
struct ck_numbers {
  /// Exact. src holds n elements of the format.
  void (*widen)(const void *src, enum ck_format format, float *dst, size_t n);
  /// Round to nearest even; e4m3 saturates; not to i8. Returns the index of the first finite value that became infinite, or -1.
  ptrdiff_t (*narrow)(const float *src, enum ck_format format, void *dst, size_t n);
  /// Index of the first NaN or infinity, or -1.
  ptrdiff_t (*first_nonfinite)(const void *src, enum ck_format format, size_t n);
  /// Quantizes one row of finite elements. Returns 0, or 1 when it holds a NaN or infinity (codes are then not written).
  int (*fp8_quantize_row)(const void *src, enum ck_format format, size_t n, enum ck_fp8_arithmetic arithmetic,
                          enum ck_format step_format, uint8_t *codes, struct ck_fp8_row *row);
  /// dst = code * scale, for e4m3 and i8.
  void (*dequantize_row)(const void *codes, enum ck_format format, size_t n, float scale, float *dst);
  /// Replaces finite activations by their e4m3 values against scale = max(min(A, bound) / 448, 1 / (448 * 512)).
  float (*fp8_activations_row)(float *x, size_t n, float bound);
  /// Replaces finite activations by their e4m3 codes' values against a given scale.
  void (*fp8_activations_static)(float *x, size_t n, float scale);
  /// Replaces finite activations by code * scale, rounded to binary32, a group of so many after the other; the last may be
  /// shorter. scale = A / 448 of the group, 2^-23 when that is zero.
  void (*fp8_activations_groups)(float *x, size_t n, size_t group);
  /// Index of the first element whose code is not within e4m3's rounding of it, or -1.
  ptrdiff_t (*fp8_first_violation)(const void *src, enum ck_format format, size_t n, const uint8_t *codes,
                                   float scale);
};

/// What quantizing a group to integers gave besides its codes: sums of (x/scale)^2 and of (x/scale - code)^2.
struct ck_integer_group {
  float scale;
  double signal, error;
};

/// Codes of a symmetric integer quantizer lie in low...high; scale = max(A / divisor, least), A the largest magnitude.
struct ck_integer_range {
  float low, high, divisor, least;
};

/// Integer quantizers, one table per level.
struct ck_integers {
  /// code = clamp(rint(x / scale)) with the quotient in binary32. The elements are finite.
  struct ck_integer_group (*quantize_group)(const float *x, size_t n, struct ck_integer_range range, int8_t *codes);
  /// Replaces finite activations by their int8 codes against scale = A / 127.5, 2^-23 when that is zero, and returns it:
  /// code = clamp(rint(x / scale), -128, 127).
  float (*int8_activations_row)(float *x, size_t n);
  /// Multiplies a row by the normalized Hadamard matrix in Sylvester order; n is a power of two.
  void (*hadamard_row)(float *x, size_t n);
  /// y += factor * a
  void (*add_scaled)(float *y, const float *a, float factor, size_t n);
};

const struct ck_integers *ck_integers_at(int level);

/// The table of a level, 0 scalar, 1 AVX2, 2 AVX-512; levels that are not compiled in give the scalar one.
const struct ck_numbers *ck_numbers_at(int level);

#endif
