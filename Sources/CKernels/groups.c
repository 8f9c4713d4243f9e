#include "CKernelsGroups.h"
#include "numbers.h"

#define GROUPS_TABLE ck_groups_scalar
#include "groups.inc"

#if defined(__x86_64__)
extern const struct ck_groups ck_groups_avx2, ck_groups_avx512;
#endif

const struct ck_groups *ck_groups_at(int level) {
#if defined(__x86_64__)
  if (level >= 2) return &ck_groups_avx512;
  if (level == 1) return &ck_groups_avx2;
#endif
  (void)level;
  return &ck_groups_scalar;
}

static float clamp_and_round(float value, float low, float high) {
  const float inside = value < low ? low : value > high ? high : value;
  return __builtin_roundevenf(inside);
}

struct ck_group ck_library_group(const float *x, size_t n, enum ck_format format, int symmetric, float low, float high,
                                 float half_range, int8_t *codes) {
  float least = 0, most = 0;
  for (size_t i = 0; i < n; i++) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  struct ck_group group = {.zero = 0, .low = low, .high = high};
  const float epsilon = format == ck_format_bf16 ? 0x1p-7f : format == ck_format_f16 ? 0x1p-10f : 0x1p-23f;
  if (symmetric) {
    const float scale = ck_round_to((-least > most ? -least : most) / half_range, format);
    group.scale = scale == 0 ? epsilon : scale;
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)clamp_and_round(ck_round_to(x[i] / group.scale, format), low, high);
    return group;
  }
  const float scale = ck_round_to(ck_round_to(most - least, format) / (high - low), format);
  if (scale == 0) {
    // The library divides zero by zero here. Zero point and codes are 0, so that values are.
    group.scale = epsilon;
    for (size_t i = 0; i < n; i++) codes[i] = 0;
    return group;
  }
  group.scale = scale;
  group.zero = clamp_and_round(ck_round_to(low - ck_round_to(least / scale, format), format), low, high);
  for (size_t i = 0; i < n; i++) {
    const float place = ck_round_to(ck_round_to(x[i] / scale, format) + group.zero, format);
    codes[i] = (int8_t)clamp_and_round(place, low, high);
  }
  return group;
}

void ck_dequantize_indexed(const int8_t *codes, size_t n, const int32_t *groups, const float *scales, const int8_t *zeros,
                           float *values) {
  for (size_t i = 0; i < n; i++) {
    const int32_t group = groups[i];
    const float zero = zeros ? zeros[group] : 0;
    values[i] = ((float)codes[i] - zero) * scales[group];
  }
}
