// Small triangular systems and rounding with error feedback, inside the blocks that matrix products work between. Every
// function gives the same bytes at every level.
#ifndef CKERNELS_FEEDBACK_H
#define CKERNELS_FEEDBACK_H

#include <stddef.h>
#include <stdint.h>

/// Order of the small triangles, rows that are rounded side by side, and positions of a block.
enum { ck_triangle = 32, ck_feedback_lanes = 16, ck_feedback_block = 128 };

/// A block of positions of sixteen rows, to be rounded from the last position to the first. Rows are read and written in
/// whole vectors of sixteen positions, past `size` too.
struct ck_feedback {
  /// Positions, at most ck_feedback_block.
  size_t size;
  /// Of all rows, the same number of elements apart: weights, and what takes their codes.
  const float *values;
  int8_t *codes;
  size_t stride;
  /// sums[r * ck_feedback_block + t]: what positions behind the block add to the target.
  const float *sums;
  /// coefficients[t * ck_feedback_block + k] carries the error at t to the target at k < t.
  const float *coefficients;
  /// Of the row r and the group g of a position: scales[g * ck_feedback_lanes + r], not zero.
  const float *scales, *zeros;
  const int32_t *groups;
  /// Codes lie in low...high.
  float low, high;
  /// What a squared distance from the target costs at each position.
  const float *costs;
  /// errors[r * ck_feedback_block + t]: value minus what its code stands for.
  float *errors;
};

struct ck_feedbacks {
  /// Factors the lower triangle of a[n <= ck_triangle][stride] in place, A = L * L^T. Returns the index of the first pivot
  /// that is not positive and finite, or -1.
  ptrdiff_t (*factor_triangle)(float *a, size_t stride, size_t n);
  /// Replaces rows x[rows][stride] of ck_triangle elements by x * L^-T. transposed[j][i] is L[i][j] for i > j, else 0.
  void (*solve_rows)(float *x, size_t stride, size_t rows, const float *transposed, const float *diagonal);
  /// Rounds a block; adds the cost of each of the sixteen rows to `costs`.
  void (*round_block)(const struct ck_feedback *block, double *costs);
};

/// The table of a level, 0 scalar, 1 AVX2, 2 AVX-512; levels that are not compiled in give the scalar one.
const struct ck_feedbacks *ck_feedbacks_at(int level);

#endif
