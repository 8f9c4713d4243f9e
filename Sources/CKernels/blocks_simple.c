// Blocks of 32 elements with one scale: the definition, one element at a time. Byte j of the packed nibbles has element
// j below and element j + 16 above.
#include "blocks.h"

#pragma STDC FP_CONTRACT OFF

static void pack_nibbles(const uint8_t levels[32], uint8_t *bytes) {
  for (int j = 0; j < 16; j++) bytes[j] = (uint8_t)((levels[j] & 15) | levels[j + 16] << 4);
}

/// The fifth bits, in the elements' order.
static void pack_fifth_bits(const uint8_t levels[32], uint8_t *bytes) {
  __builtin_memset(bytes, 0, 4);
  for (int j = 0; j < 32; j++) bytes[j / 8] |= (uint8_t)((levels[j] >> 4 & 1) << j % 8);
}

/// The element of largest magnitude with its sign, the first of several.
static float signed_largest(const float *x) {
  float largest = 0, found = 0;
  for (int i = 0; i < 32; i++) {
    if (__builtin_fabsf(x[i]) > largest) {
      largest = __builtin_fabsf(x[i]);
      found = x[i];
    }
  }
  return found;
}

static void least_and_largest(const float *x, float *least, float *largest) {
  *least = *largest = x[0];
  for (int i = 1; i < 32; i++) {
    if (x[i] < *least) *least = x[i];
    if (x[i] > *largest) *largest = x[i];
  }
}

/// Rounded toward zero, at most `most`: value >= 0 or NaN, which gives `most`.
static uint8_t truncated(float value, int most) { return (uint8_t)(value < (float)most ? value : (float)most); }

/// Levels 0...2 half - 1 that stand for -half...half - 1, and their scale.
static float symmetric_levels(const float *x, const float *weights, int half, uint8_t levels[32]) {
  if (weights) return ck_search_symmetric(x, weights, 32, half, levels);
  const float d = signed_largest(x) / (float)-half, inverse = ck_inverse(d);
  for (int i = 0; i < 32; i++) levels[i] = truncated(x[i] * inverse + ((float)half + 0.5f), 2 * half - 1);
  return d;
}

/// Levels 0...most above the least element; its value and the scale.
static float offset_levels(const float *x, const float *weights, int most, uint8_t levels[32], float *offset) {
  if (weights) {
    const float scale = ck_search_offset(x, weights, most, &ck_trials_weighted, levels, offset);
    *offset = -*offset;
    return scale;
  }
  float largest;
  least_and_largest(x, offset, &largest);
  const float d = (largest - *offset) / (float)most, inverse = ck_inverse(d);
  for (int i = 0; i < 32; i++) levels[i] = truncated((x[i] - *offset) * inverse + 0.5f, most);
  return d;
}

void ck_encode_q4_0(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[32];
  ck_store_f16(symmetric_levels(x, weights, 8, levels), block);
  pack_nibbles(levels, block + 2);
}

void ck_encode_q4_1(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[32];
  float offset;
  ck_store_f16(offset_levels(x, weights, 15, levels, &offset), block);
  ck_store_f16(offset, block + 2);
  pack_nibbles(levels, block + 4);
}

void ck_encode_q5_0(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[32];
  ck_store_f16(symmetric_levels(x, weights, 16, levels), block);
  pack_fifth_bits(levels, block + 2);
  pack_nibbles(levels, block + 6);
}

void ck_encode_q5_1(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[32];
  float offset;
  ck_store_f16(offset_levels(x, weights, 31, levels, &offset), block);
  ck_store_f16(offset, block + 2);
  pack_fifth_bits(levels, block + 4);
  pack_nibbles(levels, block + 8);
}

void ck_encode_q8_0(const float *x, const float *weights, uint8_t *block) {
  (void)weights;
  const float d = __builtin_fabsf(signed_largest(x)) / 127, inverse = ck_inverse(d);
  ck_store_f16(d, block);
  for (int i = 0; i < 32; i++) {
    // Half away from zero. An infinite element makes the product NaN.
    const float rounded = __builtin_roundf(x[i] * inverse);
    block[2 + i] = rounded >= -127 && rounded <= 127 ? (uint8_t)(int8_t)rounded : 0;
  }
}

/// The index of the nearest of the sixteen values, the larger one on ties.
static uint8_t nearest_iq4(float value) {
  uint8_t index = 0;
  while (index < 15 && value >= ((float)ck_iq4_values[index] + (float)ck_iq4_values[index + 1]) / 2) index++;
  return index;
}

static void try_iq4(const float *x, const float *w, float inverse, float *sum_xv, float *sum_v2) {
  *sum_xv = *sum_v2 = 0;
  for (int i = 0; i < 32; i++) {
    const float value = ck_iq4_values[nearest_iq4(inverse * x[i])];
    *sum_xv += w[i] * value * x[i];
    *sum_v2 += w[i] * value * value;
  }
}

void ck_encode_iq4_nl(const float *x, const float *weights, uint8_t *block) {
  const float largest = signed_largest(x);
  float squares[32], d = 0;
  for (int i = 0; i < 32; i++) squares[i] = x[i] * x[i];
  const float *const w = weights ? weights : squares;
  if (!(__builtin_fabsf(largest) < 1e-15f)) {
    float sum_xv, sum_v2;
    try_iq4(x, w, 1 / (largest / 127), &sum_xv, &sum_v2);
    d = sum_v2 > 0 ? sum_xv / sum_v2 : 0;
    float best = d * sum_xv;
    for (int trial = -7; trial <= 7; trial++) {
      try_iq4(x, w, (float)(trial - 127) / largest, &sum_xv, &sum_v2);
      if (sum_v2 > 0 && sum_xv * sum_xv > best * sum_v2) {
        d = sum_xv / sum_v2;
        best = d * sum_xv;
      }
    }
  }
  const float inverse = d != 0 ? ck_inverse(d) : 0;
  uint8_t levels[32];
  for (int i = 0; i < 32; i++) levels[i] = nearest_iq4(inverse * x[i]);
  ck_store_f16(d, block);
  pack_nibbles(levels, block + 2);
}
