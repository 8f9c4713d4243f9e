// Shared by the levels of the block kernels; not seen from Swift.
#ifndef BLOCKS_H
#define BLOCKS_H

#include "CKernelsBlocks.h"
#include "numbers.h"

/// Types that can be quantized come first in the enum.
#define CK_ENCODERS (ck_block_nvfp4 + 1)

/// Elements of the largest group, and bytes of the largest group of blocks (Q8_0).
#define CK_GROUP 2048
#define CK_GROUP_BYTES (CK_GROUP / 32 * 34)

/// Quantizes one block, or a group of blocks. `weights`, if not null, has one weight per element.
typedef void ck_encoder(const float *x, const float *weights, uint8_t *blocks);

/// An encoder of a whole number of blocks, and how many elements they have: at most CK_GROUP.
struct ck_group_encoder {
  ck_encoder *encode;
  size_t elements;
};

struct ck_block_shape {
  size_t elements, bytes;
};
extern const struct ck_block_shape ck_block_shapes[];
extern const struct ck_group_encoder ck_scalar_encoders[CK_ENCODERS];

/// Cuts rows into groups, with their weights. What is left at the end is filled up with zeros.
void ck_quantize_rows(const struct ck_group_encoder groups[CK_ENCODERS], enum ck_block type, const float *x,
                      size_t rows, size_t columns, const float *column_weights, uint8_t *blocks);
/// Whole blocks of a group, one after the other.
void ck_quantize_scalar(enum ck_block type, const float *x, size_t elements, const float *weights, uint8_t *blocks);

static inline uint32_t ck_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

static inline float ck_float(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

static inline float ck_load_f16(const uint8_t *at) {
  return ck_float_from_f16((uint16_t)(at[0] | at[1] << 8));
}

static inline void ck_store_f16(float value, uint8_t *at) {
  const uint16_t half = ck_f16_from_float(value);
  at[0] = (uint8_t)half;
  at[1] = (uint8_t)(half >> 8);
}

/// To the nearest integer, ties to even, for magnitudes up to 4194303. Beyond, and for NaN, some integer below 2^22 in
/// magnitude: the one that ggml gets, whose searches do go there for degenerate blocks.
static inline int32_t ck_nearest(float value) {
  return (int32_t)(ck_bits(value + 0x1.8p23f) & 0x7FFFFF) - 0x400000;
}

/// 1 / d, or 0 where that is not finite: a block so small is stored as zeros.
static inline float ck_inverse(float d) {
  const float inverse = 1.0f / d;
  return (ck_bits(inverse) & 0x7FFFFFFF) < 0x7F800000 ? inverse : 0;
}

/// The sixteen values of IQ4_NL and IQ4_XS, and of the FP4 types in units of half their scale.
extern const int8_t ck_iq4_values[16], ck_fp4_values[16];

/// Weighted least squares of x by scale * level + offset, offset <= 0, over trial scales. levels[i] in 0...most.
struct ck_offset_trials {
  float first, step;
  int count;
};
extern const struct ck_offset_trials ck_trials_q4_k, ck_trials_q5_k, ck_trials_weighted;
float ck_search_offset(const float x[32], const float w[32], int most, const struct ck_offset_trials *trials,
                       uint8_t levels[32], float *minus_offset);
/// Weighted least squares of x by scale * level, level in -most...most-1; levels[i] is level + most.
float ck_search_symmetric(const float *x, const float *w, int n, int most, uint8_t *levels);

/// From the scales and minus offsets of the eight sub-blocks: the first 16 bytes of a Q4_K or Q5_K block (d, dmin,
/// packed scales), and the steps and offsets that they stand for. `weights`, if not null, has each sub-block's sum.
void ck_k_scales(const float scales[8], const float offsets[8], const float *weights, uint8_t *block, float steps[8],
                 float rounded_offsets[8]);
/// The same for the sixteen scales of a Q6_K block. Returns 0, and an all-zero block, when they are all about zero.
int ck_q6_k_scales(const float scales[16], uint8_t *block, float steps[16]);

/// Exponent byte of an MXFP4 block whose largest magnitude is given; the scale that a byte stands for, halved.
uint8_t ck_e8m0_from_largest(float largest);
float ck_half_e8m0(uint8_t exponent);
/// NVFP4's unsigned e4m3.
uint8_t ck_ue4m3_from_float(float value);
float ck_ue4m3_value(uint8_t code);

ck_encoder ck_encode_q4_0, ck_encode_q4_1, ck_encode_q5_0, ck_encode_q5_1, ck_encode_q8_0, ck_encode_iq4_nl;
ck_encoder ck_encode_q4_k, ck_encode_q5_k, ck_encode_q6_k, ck_encode_mxfp4, ck_encode_nvfp4;

extern const struct ck_blocks ck_blocks_scalar;
#if defined(__x86_64__)
extern const struct ck_blocks ck_blocks_avx2;
extern const struct ck_blocks ck_blocks_avx512;
#endif

#endif
