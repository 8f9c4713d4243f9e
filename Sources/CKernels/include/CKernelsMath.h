// Dense arithmetic of the forward pass in binary32. Every function gives the same bits at every level, for every number
// of threads and however tokens are grouped: each output element is one fixed sequence of operations.
#ifndef CKERNELS_MATH_H
#define CKERNELS_MATH_H

#include <stddef.h>
#include <stdint.h>

#include "CKernelsNumbers.h"

/// A log-sum-exp that grows block by block: the largest logit so far and sum(exp(x - largest)).
struct ck_log_sum {
  float largest;
  double sum;
};

/// A softmax that grows block by block: the largest scaled score so far and sum(exp(score - largest)).
struct ck_softmax {
  float largest;
  double sum;
};

/// The five largest logits so far, in descending order; the lower index first on ties.
struct ck_top {
  float value[5];
  int32_t index[5];
};

struct ck_math {
  /// out = x * rsqrt(mean(x^2) + epsilon) * weight, one row.
  void (*rms_norm)(const float *x, const float *weight, size_t n, float epsilon, float *out);
  /// Rotates interleaved pairs of one head in place: (a, b) -> (a cos - b sin, a sin + b cos).
  void (*rope)(float *head, const float *cosines, const float *sines, size_t pairs);
  /// Takes a block of one row's scores into its softmax, in place: x = exp(factor * x - largest so far). Returns the factor
  /// for everything that was weighed before.
  float (*softmax_block)(float *x, size_t n, float factor, struct ck_softmax *state);
  /// gate = silu(gate) * up
  void (*silu_multiply)(float *gate, const float *up, size_t n);
  /// x += y
  void (*add)(float *x, const float *y, size_t n);
  /// x *= factor
  void (*scale)(float *x, float factor, size_t n);
  /// x = x * factor * factors
  void (*scale_columns)(float *x, const float *factors, float factor, size_t n);
  /// Takes a block of one token's logits into its log-sum-exp.
  void (*log_sum)(const float *x, size_t n, struct ck_log_sum *state);
  /// The same for two models at once, and sum(exp(x - largest x) * (x - y)), from which KLD(x || y) follows.
  void (*log_sum_pair)(const float *x, const float *y, size_t n, struct ck_log_sum *of_x, struct ck_log_sum *of_y,
                       double *weighted);
  /// Takes a block of logits, whose first index is `first`, into the five largest.
  void (*top)(const float *x, size_t n, int32_t first, struct ck_top *state);
  /// Adds to sums: sum (a - b)^2 and sum a^2, runs of 1024 elements summed in sixteen lanes.
  void (*difference)(const float *a, const float *b, size_t n, double sums[2]);
};

/// The table of a level, 0 scalar, 1 AVX2, 2 AVX-512; levels that are not compiled in give the scalar one.
const struct ck_math *ck_math_at(int level);

#endif
