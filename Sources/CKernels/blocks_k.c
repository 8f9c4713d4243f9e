// Super-blocks of 256 elements, whose sub-blocks have scales of their own that are quantized in turn: the definition.
#include "blocks.h"

#pragma STDC FP_CONTRACT OFF

/// Levels 0...most of the 256 elements of a Q4_K or Q5_K block; writes its first 16 bytes.
static void offset_levels(const float *x, const float *weights, int most, const struct ck_offset_trials *trials,
                          uint8_t levels[256], uint8_t *block) {
  float scales[8], offsets[8], sums[8];
  for (int j = 0; j < 8; j++) {
    const float *const part = x + 32 * j;
    float own[32], sum = 0;
    for (int i = 0; i < 32; i++) sum += part[i] * part[i];
    const float typical = __builtin_sqrtf(sum / 32);
    for (int i = 0; i < 32; i++) own[i] = weights ? weights[32 * j + i] : typical + __builtin_fabsf(part[i]);
    scales[j] = ck_search_offset(part, own, most, trials, levels + 32 * j, &offsets[j]);
    sums[j] = 0;
    for (int i = 0; i < 32; i++) sums[j] += own[i];
  }
  float steps[8], rounded_offsets[8];
  ck_k_scales(scales, offsets, weights ? sums : NULL, block, steps, rounded_offsets);
  // Once more, with the scales and offsets as they are stored. Where a scale became zero the search's levels stay.
  for (int i = 0; i < 256; i++) {
    if (steps[i / 32] == 0) continue;
    const int32_t level = ck_nearest((x[i] + rounded_offsets[i / 32]) / steps[i / 32]);
    levels[i] = (uint8_t)(level < 0 ? 0 : level > most ? most : level);
  }
}

/// Chunk c of 32 bytes has sub-block 2c below and sub-block 2c + 1 above.
static void pack_nibbles(const uint8_t levels[256], uint8_t *bytes) {
  for (int c = 0; c < 4; c++) {
    for (int l = 0; l < 32; l++) {
      bytes[32 * c + l] = (uint8_t)((levels[64 * c + l] & 15) | levels[64 * c + 32 + l] << 4);
    }
  }
}

void ck_encode_q4_k(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[256];
  offset_levels(x, weights, 15, weights ? &ck_trials_weighted : &ck_trials_q4_k, levels, block);
  pack_nibbles(levels, block + 16);
}

void ck_encode_q5_k(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[256];
  offset_levels(x, weights, 31, weights ? &ck_trials_weighted : &ck_trials_q5_k, levels, block);
  uint8_t *const fifth = block + 16;
  __builtin_memset(fifth, 0, 32);
  for (int i = 0; i < 256; i++) fifth[i % 32] |= (uint8_t)((levels[i] >> 4) << i / 32);
  pack_nibbles(levels, block + 48);
}

void ck_encode_q6_k(const float *x, const float *weights, uint8_t *block) {
  uint8_t levels[256];
  float scales[16], steps[16], squares[256];
  for (int i = 0; i < 256; i++) squares[i] = x[i] * x[i];
  const float *const w = weights ? weights : squares;
  for (int j = 0; j < 16; j++) scales[j] = ck_search_symmetric(x + 16 * j, w + 16 * j, 16, 32, levels + 16 * j);
  if (!ck_q6_k_scales(scales, block, steps)) return;
  for (int i = 0; i < 256; i++) {
    if (steps[i / 16] == 0) continue;
    const int32_t level = ck_nearest(x[i] / steps[i / 16]);
    levels[i] = (uint8_t)((level < -32 ? -32 : level > 31 ? 31 : level) + 32);
  }
  for (int c = 0; c < 2; c++) {
    const uint8_t *const half = levels + 128 * c;
    uint8_t *const low = block + 64 * c, *const high = block + 128 + 32 * c;
    for (int l = 0; l < 32; l++) {
      low[l] = (uint8_t)((half[l] & 15) | half[l + 64] << 4);
      low[l + 32] = (uint8_t)((half[l + 32] & 15) | half[l + 96] << 4);
      high[l] = 0;
      for (int part = 0; part < 4; part++) high[l] |= (uint8_t)((half[l + 32 * part] >> 4) << 2 * part);
    }
  }
}
