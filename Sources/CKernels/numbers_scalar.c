// The definition of every number conversion: one element at a time, in the words of the format pages. The vector
// versions must give the same bytes.
#include "numbers.h"

#pragma STDC FP_CONTRACT OFF

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

float ck_float_from_f16(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7FFF;
  if (magnitude >= 0x7C00) return float_of(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  if (magnitude < 0x400) return float_of(sign | bits_of((float)magnitude * 0x1p-24f));
  return float_of(sign | ((magnitude << 13) + (112u << 23)));
}

float ck_float_from_e4m3(uint8_t code) {
  const uint32_t sign = (uint32_t)(code & 0x80) << 24, magnitude = code & 0x7F;
  if (magnitude == 0x7F) return float_of(sign | 0x7FC00000);
  if (magnitude < 8) return float_of(sign | bits_of((float)magnitude * 0x1p-9f));
  return float_of(sign | ((magnitude << 20) + (120u << 23)));
}

uint16_t ck_bf16_from_float(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40); // NaN stays NaN, made quiet
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

uint16_t ck_f16_from_float(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
  if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7C00); // 65536 and above
  if (magnitude < 0x38800000) {
    // Below 2^-14: in the binade of 0.5 a unit in the last place is 2^-24, so the sum rounds as the subnormal must.
    return (uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3F000000));
  }
  magnitude += 0xFFF + (magnitude >> 13 & 1);
  return (uint16_t)(sign | ((magnitude >> 13) - (112 << 10)));
}

uint8_t ck_e4m3_from_float(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 24 & 0x80;
  uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return (uint8_t)(sign | 0x7F);
  if (magnitude >= 0x43E80000) return (uint8_t)(sign | 0x7E); // 464 and above saturate; 464 itself ties to 448
  if (magnitude < 0x3C800000) {
    // Below 2^-6: in the binade of 2^14 a unit in the last place is 2^-9, the subnormal step.
    return (uint8_t)(sign | (bits_of(float_of(magnitude) + 0x1p14f) - 0x46800000));
  }
  magnitude += 0x7FFFF + (magnitude >> 20 & 1);
  return (uint8_t)(sign | ((magnitude >> 20) - (120 << 3)));
}

float ck_load(const void *src, enum ck_format format, size_t index) {
  switch (format) {
  case ck_format_f32: {
    float value;
    __builtin_memcpy(&value, (const char *)src + 4 * index, 4);
    return value;
  }
  case ck_format_e4m3: return ck_float_from_e4m3(((const uint8_t *)src)[index]);
  case ck_format_i8: return ((const int8_t *)src)[index];
  default: {
    uint16_t half;
    __builtin_memcpy(&half, (const char *)src + 2 * index, 2);
    return format == ck_format_f16 ? ck_float_from_f16(half) : float_of((uint32_t)half << 16);
  }
  }
}

float ck_round_to(float value, enum ck_format format) {
  switch (format) {
  case ck_format_f16: return ck_float_from_f16(ck_f16_from_float(value));
  case ck_format_bf16: return float_of((uint32_t)ck_bf16_from_float(value) << 16);
  default: return value;
  }
}

float ck_fp8_scale(float largest, enum ck_fp8_arithmetic arithmetic, enum ck_format step_format) {
  const float quotient = largest / 448.0f;
  switch (arithmetic) {
  case ck_fp8_arithmetic_grid_bf16: {
    const float scale = ck_round_to(quotient, ck_format_bf16);
    return scale == 0 ? 1 : scale;
  }
  case ck_fp8_arithmetic_steps_rounded: {
    const float scale = ck_round_to(quotient, step_format);
    if (scale != 0) return scale;
    return step_format == ck_format_bf16 ? 0x1p-7f : step_format == ck_format_f16 ? 0x1p-10f : 0x1p-23f;
  }
  default: {
    const float least = 1.0f / (448.0f * 512.0f);
    return quotient > least ? quotient : least;
  }
  }
}

static void widen(const void *src, enum ck_format format, float *dst, size_t n) {
  for (size_t i = 0; i < n; i++) dst[i] = ck_load(src, format, i);
}

ptrdiff_t ck_narrow_scalar(const float *src, enum ck_format format, void *dst, size_t n) {
  ptrdiff_t overflow = -1;
  for (size_t i = 0; i < n; i++) {
    if (format == ck_format_e4m3) {
      ((uint8_t *)dst)[i] = ck_e4m3_from_float(src[i]);
    } else if (format == ck_format_f32) {
      __builtin_memcpy((char *)dst + 4 * i, &src[i], 4);
    } else {
      const int is_half = format == ck_format_f16;
      const uint16_t bits = is_half ? ck_f16_from_float(src[i]) : ck_bf16_from_float(src[i]);
      __builtin_memcpy((char *)dst + 2 * i, &bits, 2);
      const int became_infinite = (bits & 0x7FFF) == (is_half ? 0x7C00 : 0x7F80);
      if (overflow < 0 && became_infinite && (bits_of(src[i]) & 0x7FFFFFFF) != 0x7F800000) overflow = (ptrdiff_t)i;
    }
  }
  return overflow;
}

ptrdiff_t ck_first_nonfinite_scalar(const void *src, enum ck_format format, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if ((bits_of(ck_load(src, format, i)) & 0x7FFFFFFF) >= 0x7F800000) return (ptrdiff_t)i;
  }
  return -1;
}

static int fp8_quantize_row(const void *src, enum ck_format format, size_t n, enum ck_fp8_arithmetic arithmetic,
                            enum ck_format step_format, uint8_t *codes, struct ck_fp8_row *row) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; i++) {
    const uint32_t magnitude = bits_of(ck_load(src, format, i)) & 0x7FFFFFFF;
    if (magnitude > largest) largest = magnitude;
  }
  if (largest >= 0x7F800000) return 1;
  const float scale = ck_fp8_scale(float_of(largest), arithmetic, step_format);
  *row = (struct ck_fp8_row){.scale = scale, .is_zero = largest == 0};
  // Sums in sixteen lanes, flushed every 1024 elements: the order that the vector versions have.
  for (size_t start = 0; start < n; start += 1024) {
    float signal[16] = {0}, error[16] = {0};
    const size_t end = n - start < 1024 ? n : start + 1024;
    for (size_t i = start; i < end; i++) {
      const float quotient = ck_load(src, format, i) / scale;
      const float rounded =
          arithmetic == ck_fp8_arithmetic_steps_rounded ? ck_round_to(quotient, step_format) : quotient;
      codes[i] = ck_e4m3_from_float(rounded);
      const float off = quotient - ck_float_from_e4m3(codes[i]);
      row->saturated += (bits_of(rounded) & 0x7FFFFFFF) > 0x43E00000; // 448
      signal[i % 16] += quotient * quotient;
      error[i % 16] += off * off;
      row->largest = __builtin_fabsf(off) > row->largest ? __builtin_fabsf(off) : row->largest;
    }
    for (int lane = 0; lane < 16; lane++) {
      row->signal += signal[lane];
      row->error += error[lane];
    }
  }
  return 0;
}

static void dequantize_row(const void *codes, enum ck_format format, size_t n, float scale, float *dst) {
  for (size_t i = 0; i < n; i++) dst[i] = ck_load(codes, format, i) * scale;
}

static float largest_of(const float *x, size_t n) {
  uint32_t largest = 0;
  for (size_t i = 0; i < n; i++) {
    const uint32_t magnitude = bits_of(x[i]) & 0x7FFFFFFF;
    if (magnitude > largest) largest = magnitude;
  }
  return float_of(largest);
}

static void fp8_activations_static(float *x, size_t n, float scale) {
  for (size_t i = 0; i < n; i++) x[i] = ck_float_from_e4m3(ck_e4m3_from_float(x[i] / scale));
}

static float fp8_activations_row(float *x, size_t n, float bound) {
  const float largest = largest_of(x, n);
  const float scale = ck_fp8_scale(largest < bound ? largest : bound, ck_fp8_arithmetic_floor, ck_format_f32);
  fp8_activations_static(x, n, scale);
  return scale;
}

static void fp8_activations_groups(float *x, size_t n, size_t group) {
  for (size_t start = 0; start < n; start += group) {
    const size_t count = n - start < group ? n - start : group;
    const float scale = ck_fp8_scale(largest_of(x + start, count), ck_fp8_arithmetic_steps_rounded, ck_format_f32);
    fp8_activations_static(x + start, count, scale);
    for (size_t i = start; i < start + count; i++) x[i] *= scale;
  }
}

// Not the quantizer run again: the bound that any correct one must keep. A code's neighbours are 2^-3 of it apart (2^-9
// among subnormals), so the value is at most half of that away; the last factor covers quotients and scales rounded to
// bf16 on the way. A row whose scale was rounded down may pass 448 by half a bf16 step, 1/256. Only subnormal scales have
// so few bits that a right code may be saturated by more: those below 2^-14 that F16 weights can have (in F16), those
// below 2^-126 that the others can have.
ptrdiff_t ck_fp8_first_violation_scalar(const void *src, enum ck_format format, size_t n, const uint8_t *codes,
                                        float scale) {
  const int may_saturate = ck_fp8_may_saturate(format, scale);
  for (size_t i = 0; i < n; i++) {
    float value = ck_load(src, format, i) / scale;
    if (may_saturate) value = value > 448 ? 448 : value < -448 ? -448 : value;
    const float code = ck_float_from_e4m3(codes[i]);
    const float relative = __builtin_fabsf(code) * 0x1p-4f, least = 0x1p-10f;
    const float bound = (relative > least ? relative : least) * (1 + 0x1p-4f);
    if (!(__builtin_fabsf(value - code) <= bound)) return (ptrdiff_t)i;
  }
  return -1;
}

const struct ck_numbers ck_numbers_scalar = {
    .widen = widen,
    .narrow = ck_narrow_scalar,
    .first_nonfinite = ck_first_nonfinite_scalar,
    .fp8_quantize_row = fp8_quantize_row,
    .dequantize_row = dequantize_row,
    .fp8_activations_row = fp8_activations_row,
    .fp8_activations_static = fp8_activations_static,
    .fp8_activations_groups = fp8_activations_groups,
    .fp8_first_violation = ck_fp8_first_violation_scalar,
};
