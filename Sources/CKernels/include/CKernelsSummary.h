// What a look at a row of values tells.
#ifndef CKERNELS_SUMMARY_H
#define CKERNELS_SUMMARY_H

#include <stddef.h>
#include <stdint.h>

struct ck_row_summary {
  /// Sum of squares in binary64, element i in partial sum i mod 8, the partial sums added up in order.
  double squares;
  /// The largest magnitude as the bits of a binary32 without sign; NaN and infinities compare above all numbers.
  uint32_t largest;
};

struct ck_row_summary ck_summarize_row(const float *x, size_t n);

/// How many of n bytes are `value` when their highest bit is left out.
size_t ck_count_magnitude(const uint8_t *codes, size_t n, uint8_t value);

#endif
