// Four-bit floats (E2M1) under shared scales: the definition. The table has twice the values, so scales are halved.
#include "blocks.h"

#pragma STDC FP_CONTRACT OFF

/// The code whose value is nearest, the first on ties: of two neighbours the smaller magnitude, and never minus zero.
static uint8_t nearest_fp4(float x, float half_scale) {
  uint8_t best = 0;
  float least = __builtin_fabsf(0 * half_scale - x);
  for (uint8_t code = 1; code < 16; code++) {
    const float distance = __builtin_fabsf((float)ck_fp4_values[code] * half_scale - x);
    if (distance < least) {
      least = distance;
      best = code;
    }
  }
  return best;
}

static float largest_magnitude(const float *x, int n) {
  float largest = 0;
  for (int i = 0; i < n; i++) largest = __builtin_fabsf(x[i]) > largest ? __builtin_fabsf(x[i]) : largest;
  return largest;
}

uint8_t ck_e8m0_from_largest(float largest) {
  const uint32_t bits = ck_bits(largest);
  if (bits < 0x01000000) return 0; // Below 2^-125, where the exponent would be negative.
  int exponent = (int)(bits >> 23) - 127;
  // The logarithm is taken in binary32: j units below a power of two it may round up to the whole number.
  const int next = exponent + 1, below = 0x800000 - (int)(bits & 0x7FFFFF);
  if (below < 64 && (float)((double)next - below * 0x1.71547652b82fep-24) == (float)next) exponent = next;
  return (uint8_t)(exponent - 2 + 127);
}

float ck_half_e8m0(uint8_t exponent) {
  return ck_float(exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23);
}

void ck_encode_mxfp4(const float *x, const float *weights, uint8_t *block) {
  (void)weights;
  block[0] = ck_e8m0_from_largest(largest_magnitude(x, 32));
  const float d = ck_half_e8m0(block[0]);
  for (int j = 0; j < 16; j++) block[1 + j] = (uint8_t)(nearest_fp4(x[j], d) | nearest_fp4(x[j + 16], d) << 4);
}

uint8_t ck_ue4m3_from_float(float value) {
  if (!(value > 0)) return 0;
  if (value > 448) value = 448;
  const uint32_t bits = ck_bits(value);
  const int exponent = (int)(bits >> 23) - 127 + 7;
  if (exponent <= 0) {
    const int mantissa = (int)(value * 512 + 0.5f);
    return (uint8_t)(mantissa > 7 ? 7 : mantissa);
  }
  // The whole top octave is taken for 448.
  if (exponent >= 15) return 0x7E;
  // Three bits of mantissa, half up; a carry goes into the exponent.
  const int code = (exponent << 3 | (int)(bits >> 20 & 7)) + (int)(bits >> 19 & 1);
  return (uint8_t)(code >> 3 >= 15 ? 0x7E : code);
}

float ck_ue4m3_value(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (code == 0x7F) return 0;
  if (exponent == 0) return (float)mantissa * 0x1p-9f;
  return (1 + (float)mantissa / 8) * ck_float((uint32_t)(exponent - 7 + 127) << 23);
}

void ck_encode_nvfp4(const float *x, const float *weights, uint8_t *block) {
  (void)weights;
  for (int s = 0; s < 4; s++) {
    const float *const part = x + 16 * s;
    block[s] = ck_ue4m3_from_float(largest_magnitude(part, 16) / 6);
    const float d = ck_ue4m3_value(block[s]) / 2;
    uint8_t *const packed = block + 4 + 8 * s;
    for (int j = 0; j < 8; j++) packed[j] = (uint8_t)(nearest_fp4(part[j], d) | nearest_fp4(part[j + 8], d) << 4);
  }
}
