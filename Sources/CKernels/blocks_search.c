// The searches for scales: trial scales are judged by weighted squared errors. Every sum runs in order of the index and
// every operation rounds to binary32, so that the winner is the one that ggml finds.
#include "blocks.h"

#pragma STDC FP_CONTRACT OFF

const struct ck_offset_trials ck_trials_q4_k = {-1, 0.1f, 21}, ck_trials_q5_k = {-0.5f, 0.1f, 16},
                              ck_trials_weighted = {-0.9f, 0.05f, 37};

static uint8_t clamped_level(float value, int most) {
  const int32_t level = ck_nearest(value);
  return (uint8_t)(level < 0 ? 0 : level > most ? most : level);
}

float ck_search_offset(const float x[32], const float w[32], int most, const struct ck_offset_trials *trials,
                       uint8_t levels[32], float *minus_offset) {
  const int n = 32;
  float low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0];
  for (int i = 1; i < n; i++) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  if (low > 0) low = 0;
  if (high <= low) {
    for (int i = 0; i < n; i++) levels[i] = 0;
    *minus_offset = -low;
    return 0;
  }
  float inverse = (float)most / (high - low);
  float scale = 1 / inverse, best = 0;
  for (int i = 0; i < n; i++) {
    levels[i] = clamped_level(inverse * (x[i] - low), most);
    const float off = scale * (float)levels[i] + low - x[i];
    best += w[i] * (off * off);
  }
  for (int trial = 0; trial < trials->count; trial++) {
    // `low` is the best offset so far: a trial that wins moves the origin of the later ones.
    inverse = (trials->first + trials->step * (float)trial + (float)most) / (high - low);
    // What is no sum has loops of its own, which compilers make wide.
    float tried[32], squares[32], sum_l = 0, sum_l2 = 0, sum_xl = 0;
    for (int i = 0; i < n; i++) tried[i] = (float)clamped_level(inverse * (x[i] - low), most);
    for (int i = 0; i < n; i++) {
      const float level = tried[i];
      sum_l += w[i] * level;
      sum_l2 += w[i] * level * level;
      sum_xl += w[i] * level * x[i];
    }
    const float determinant = sum_w * sum_l2 - sum_l * sum_l;
    if (!(determinant > 0)) continue;
    float slope = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    float offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    if (offset > 0) {
      offset = 0;
      slope = sum_xl / sum_l2;
    }
    float error = 0;
    for (int i = 0; i < n; i++) {
      const float off = slope * tried[i] + offset - x[i];
      squares[i] = w[i] * (off * off);
    }
    for (int i = 0; i < n; i++) error += squares[i];
    if (error < best) {
      for (int i = 0; i < n; i++) levels[i] = (uint8_t)tried[i];
      best = error;
      scale = slope;
      low = offset;
    }
  }
  *minus_offset = -low;
  return scale;
}

/// sum w x l and sum w l^2 for the levels of one inverse scale.
static void try_symmetric(const float *x, const float *w, int n, int most, float inverse, int8_t *levels, float *sum_xl,
                          float *sum_l2) {
  *sum_xl = *sum_l2 = 0;
  for (int i = 0; i < n; i++) {
    const int32_t level = ck_nearest(inverse * x[i]);
    levels[i] = (int8_t)(level < -most ? -most : level > most - 1 ? most - 1 : level);
    *sum_xl += w[i] * x[i] * (float)levels[i];
    *sum_l2 += w[i] * (float)levels[i] * (float)levels[i];
  }
}

float ck_search_symmetric(const float *x, const float *w, int n, int most, uint8_t *levels) {
  float largest = 0, signed_largest = 0;
  for (int i = 0; i < n; i++) {
    if (__builtin_fabsf(x[i]) > largest) {
      largest = __builtin_fabsf(x[i]);
      signed_largest = x[i];
    }
  }
  int8_t kept[32] = {0}, tried[32];
  float scale = 0;
  if (largest < 1e-15f) {
    for (int i = 0; i < n; i++) levels[i] = 0;
    return 0;
  }
  float sum_xl, sum_l2;
  try_symmetric(x, w, n, most, -(float)most / signed_largest, kept, &sum_xl, &sum_l2);
  scale = sum_l2 != 0 ? sum_xl / sum_l2 : 0;
  float best = scale * sum_xl;
  for (int trial = -9; trial <= 9; trial++) {
    if (trial == 0) continue;
    const float inverse = -((float)most + 0.1f * (float)trial) / signed_largest;
    try_symmetric(x, w, n, most, inverse, tried, &sum_xl, &sum_l2);
    if (sum_l2 > 0 && sum_xl * sum_xl > best * sum_l2) {
      __builtin_memcpy(kept, tried, (size_t)n);
      scale = sum_xl / sum_l2;
      best = scale * sum_xl;
    }
  }
  for (int i = 0; i < n; i++) levels[i] = (uint8_t)(kept[i] + most);
  return scale;
}

/// Eight values >= 0 as scale * level, level in 0...63: trial scales, then single levels moved while that helps.
static float search_positive(const float x[8], const float w[8], uint8_t levels[8]) {
  const int most = 63;
  float largest = 0;
  for (int i = 0; i < 8; i++) largest = x[i] > largest ? x[i] : largest;
  __builtin_memset(levels, 0, 8);
  if (largest < 1e-15f) return 0;
  float kept = 0, least = 0;
  for (int trial = -5; trial <= 4; trial++) {
    // The plain scale goes first.
    if (trial == 0) continue;
    const int is_plain = trial == -5;
    const float inverse = (is_plain ? (float)most : 0.1f * (float)trial + (float)most) / largest;
    const float scale = 1 / inverse;
    float error = 0;
    for (int i = 0; i < 8; i++) {
      int32_t level = ck_nearest(inverse * x[i]);
      if (!is_plain && level > most) level = most;
      const float off = x[i] - scale * (float)level;
      error += w[i] * off * off;
    }
    if (is_plain || error < least) {
      least = error;
      kept = inverse;
    }
  }
  float sum_xl = 0, sum_l2 = 0;
  for (int i = 0; i < 8; i++) {
    const int32_t level = ck_nearest(kept * x[i]);
    levels[i] = (uint8_t)(level > most ? most : level);
    sum_xl += w[i] * x[i] * (float)levels[i];
    sum_l2 += w[i] * (float)levels[i] * (float)levels[i];
  }
  for (int pass = 0; pass < 5; pass++) {
    int changed = 0;
    for (int i = 0; i < 8; i++) {
      const float old = (float)levels[i];
      float rest_xl = sum_xl - w[i] * x[i] * old, rest_l2 = sum_l2 - w[i] * old * old;
      if (!(rest_xl > 0 && rest_l2 > 0)) continue;
      int32_t level = ck_nearest(x[i] * rest_l2 / rest_xl);
      level = level > most ? most : level;
      if (level == levels[i]) continue;
      rest_xl += w[i] * x[i] * (float)level;
      rest_l2 += w[i] * (float)level * (float)level;
      if (rest_xl * rest_xl * sum_l2 > sum_xl * sum_xl * rest_l2) {
        levels[i] = (uint8_t)level;
        sum_xl = rest_xl;
        sum_l2 = rest_l2;
        changed = 1;
      }
    }
    if (!changed) break;
  }
  return sum_l2 > 0 ? sum_xl / sum_l2 : 0;
}

static float largest_of(const float x[8]) {
  float largest = 0;
  for (int i = 0; i < 8; i++) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

/// Eight values >= 0 against the largest of them.
static float plain_positive(const float x[8], uint8_t levels[8]) {
  const float largest = largest_of(x), inverse = largest > 0 ? 63 / largest : 0;
  for (int i = 0; i < 8; i++) {
    // Cut to a byte first: a negative scale, which only rounding errors can give, becomes 63.
    const uint8_t level = (uint8_t)ck_nearest(inverse * x[i]);
    levels[i] = level > 63 ? 63 : level;
  }
  return largest / 63;
}

void ck_k_scales(const float scales[8], const float offsets[8], const float *weights, uint8_t *block, float steps[8],
                 float rounded_offsets[8]) {
  uint8_t s[8], m[8];
  ck_store_f16(weights ? search_positive(scales, weights, s) : plain_positive(scales, s), block);
  ck_store_f16(weights ? search_positive(offsets, weights, m) : plain_positive(offsets, m), block + 2);
  uint8_t *const packed = block + 4;
  for (int j = 0; j < 4; j++) {
    packed[j] = (uint8_t)((s[j] & 63) | (s[j + 4] >> 4) << 6);
    packed[j + 4] = (uint8_t)((m[j] & 63) | (m[j + 4] >> 4) << 6);
    packed[j + 8] = (uint8_t)((s[j + 4] & 15) | m[j + 4] << 4);
  }
  const float d = ck_load_f16(block), least = ck_load_f16(block + 2);
  for (int j = 0; j < 8; j++) {
    steps[j] = d * (float)(s[j] & 63);
    rounded_offsets[j] = least * (float)(m[j] & 63);
  }
}

int ck_q6_k_scales(const float scales[16], uint8_t *block, float steps[16]) {
  float largest = 0, signed_largest = 0;
  for (int j = 0; j < 16; j++) {
    if (__builtin_fabsf(scales[j]) > largest) {
      largest = __builtin_fabsf(scales[j]);
      signed_largest = scales[j];
    }
  }
  if (largest < 1e-15f) {
    __builtin_memset(block, 0, 210);
    return 0;
  }
  const float inverse = -128.0f / signed_largest;
  ck_store_f16(1 / inverse, block + 208);
  const float d = ck_load_f16(block + 208);
  for (int j = 0; j < 16; j++) {
    const int32_t level = ck_nearest(inverse * scales[j]);
    const int8_t rounded = (int8_t)(level > 127 ? 127 : level);
    block[192 + j] = (uint8_t)rounded;
    steps[j] = d * (float)rounded;
  }
  return 1;
}
