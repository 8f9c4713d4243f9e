// Integer codes in words: as compressed-tensors, GPTQ and AWQ store them.
#include <string.h>

#include "CKernelsGroups.h"

void ck_pack_row(const int8_t *codes, size_t n, int bits, uint8_t *bytes) {
  if (bits == 8) {
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)codes[i] ^ 0x80;
    return;
  }
  for (size_t i = 0; i < n / 2; i++) {
    const uint8_t low = (uint8_t)codes[2 * i] & 15, high = (uint8_t)codes[2 * i + 1] & 15;
    bytes[i] = (uint8_t)((low | high << 4) ^ 0x88);
  }
  if (n % 2) bytes[n / 2] = ((uint8_t)codes[n - 1] & 15) ^ 8;
}

void ck_unpack_row(const uint8_t *bytes, size_t n, int bits, int8_t *codes) {
  if (bits == 8) {
    for (size_t i = 0; i < n; i++) codes[i] = (int8_t)(bytes[i] ^ 0x80);
    return;
  }
  for (size_t i = 0; i < n / 2; i++) {
    codes[2 * i] = (int8_t)((int8_t)(bytes[i] & 15) - 8);
    codes[2 * i + 1] = (int8_t)((int8_t)(bytes[i] >> 4) - 8);
  }
  if (n % 2) codes[n - 1] = (int8_t)((int8_t)(bytes[n / 2] & 15) - 8);
}

void ck_pack_columns(const int8_t *codes, size_t stride, size_t rows, size_t n, int bits, const uint8_t *order, int bias,
                     uint32_t *words) {
  const uint32_t mask = (1u << bits) - 1;
  memset(words, 0, 4 * n);
  for (int field = 0; field < 32 / bits; field++) {
    if (order[field] >= rows) continue;
    const int8_t *row = codes + order[field] * stride;
    for (size_t i = 0; i < n; i++) words[i] |= ((uint32_t)(row[i] + bias) & mask) << (bits * field);
  }
}

void ck_unpack_columns(const uint32_t *words, size_t rows, size_t n, int bits, const uint8_t *order, int bias,
                       int8_t *codes, size_t stride) {
  const int mask = (1 << bits) - 1, half = 1 << (bits - 1);
  for (int field = 0; field < 32 / bits; field++) {
    if (order[field] >= rows) continue;
    int8_t *row = codes + order[field] * stride;
    for (size_t i = 0; i < n; i++) row[i] = (int8_t)((((int)(words[i] >> (bits * field)) - bias + half) & mask) - half);
  }
}

// Squares that stay in the first-level cache on both sides.
#define TRANSPOSE(type)                                                                                                \
  for (size_t top = 0; top < rows; top += 16) {                                                                        \
    const size_t bottom = rows - top < 16 ? rows : top + 16;                                                           \
    for (size_t column = 0; column < columns; column++) {                                                              \
      type *target = to + column * to_stride;                                                                          \
      for (size_t row = top; row < bottom; row++) target[row] = from[row * from_stride + column];                      \
    }                                                                                                                  \
  }

void ck_transpose_words(const uint32_t *from, size_t from_stride, size_t rows, size_t columns, uint32_t *to,
                        size_t to_stride) {
  TRANSPOSE(uint32_t)
}

void ck_transpose_halves(const uint16_t *from, size_t from_stride, size_t rows, size_t columns, uint16_t *to,
                         size_t to_stride) {
  TRANSPOSE(uint16_t)
}
