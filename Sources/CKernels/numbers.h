// Shared by the levels of the number kernels; not seen from Swift.
#ifndef NUMBERS_H
#define NUMBERS_H

#include "CKernelsNumbers.h"

float ck_float_from_f16(uint16_t half);
float ck_float_from_e4m3(uint8_t code);
uint16_t ck_bf16_from_float(float value);
uint16_t ck_f16_from_float(float value);
uint8_t ck_e4m3_from_float(float value);
float ck_load(const void *src, enum ck_format format, size_t index);
float ck_round_to(float value, enum ck_format format);
float ck_fp8_scale(float largest, enum ck_fp8_arithmetic arithmetic, enum ck_format step_format);
ptrdiff_t ck_narrow_scalar(const float *src, enum ck_format format, void *dst, size_t n);
ptrdiff_t ck_first_nonfinite_scalar(const void *src, enum ck_format format, size_t n);
ptrdiff_t ck_fp8_first_violation_scalar(const void *src, enum ck_format format, size_t n, const uint8_t *codes,
                                        float scale);

/// Whether a row's scale is subnormal in a type that its weights' format can lead to: see the check's bound.
static inline int ck_fp8_may_saturate(enum ck_format format, float scale) {
  return scale < 0x1p-126f || (format == ck_format_f16 && scale < 0x1p-14f);
}

extern const struct ck_numbers ck_numbers_scalar;
#if defined(__x86_64__)
extern const struct ck_numbers ck_numbers_avx2;
extern const struct ck_numbers ck_numbers_avx512;
#endif

#endif
