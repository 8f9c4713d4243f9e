// One form for all processors: sums have a fixed order, and compilers find vectors in it.
#include "CKernels.h"

#pragma STDC FP_CONTRACT OFF

enum { lanes = 8 };

static inline uint32_t magnitude_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits & 0x7FFFFFFF;
}

struct ck_row_summary ck_summarize_row(const float *x, size_t n) {
  double sums[lanes] = {0};
  uint32_t largest[lanes] = {0};
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    for (size_t lane = 0; lane < lanes; ++lane) {
      const double value = x[i + lane];
      const uint32_t magnitude = magnitude_of(x[i + lane]);
      sums[lane] += value * value;
      largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
    }
  }
  for (size_t lane = 0; i < n; ++i, ++lane) {
    const double value = x[i];
    const uint32_t magnitude = magnitude_of(x[i]);
    sums[lane] += value * value;
    largest[lane] = magnitude > largest[lane] ? magnitude : largest[lane];
  }
  struct ck_row_summary summary = {0, 0};
  for (size_t lane = 0; lane < lanes; ++lane) {
    summary.squares += sums[lane];
    summary.largest = largest[lane] > summary.largest ? largest[lane] : summary.largest;
  }
  return summary;
}

size_t ck_count_magnitude(const uint8_t *codes, size_t n, uint8_t value) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) count += (codes[i] & 0x7F) == value;
  return count;
}
