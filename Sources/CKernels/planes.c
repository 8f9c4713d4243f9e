#include "CKernelsPlanes.h"

#include <string.h>

// Loops that compilers turn into vectors; little-endian, as all supported machines are.

void ck_planes_split_8(const uint8_t *numbers, size_t n, uint8_t *exponents, uint8_t *rest) {
  for (size_t i = 0; i < n / 2; i++) {
    const uint8_t a = numbers[2 * i], b = numbers[2 * i + 1];
    const uint8_t x = (uint8_t)(a << 1 | a >> 7), y = (uint8_t)(b << 1 | b >> 7);
    exponents[i] = (uint8_t)(x >> 4 | (y & 0xF0));
    rest[i] = (uint8_t)((x & 15) | y << 4);
  }
  if (n % 2) {
    const uint8_t a = numbers[n - 1], x = (uint8_t)(a << 1 | a >> 7);
    exponents[n / 2] = x >> 4;
    rest[n / 2] = x & 15;
  }
}

void ck_planes_join_8(const uint8_t *exponents, const uint8_t *rest, size_t n, uint8_t *numbers) {
  for (size_t i = 0; i < n / 2; i++) {
    const uint8_t x = (uint8_t)(exponents[i] << 4 | (rest[i] & 15)), y = (uint8_t)((exponents[i] & 0xF0) | rest[i] >> 4);
    numbers[2 * i] = (uint8_t)(x >> 1 | x << 7);
    numbers[2 * i + 1] = (uint8_t)(y >> 1 | y << 7);
  }
  if (n % 2) {
    const uint8_t x = (uint8_t)(exponents[n / 2] << 4 | (rest[n / 2] & 15));
    numbers[n - 1] = (uint8_t)(x >> 1 | x << 7);
  }
}

void ck_planes_split_16(const uint8_t *numbers, size_t n, uint8_t *exponents, uint8_t *rest) {
  for (size_t i = 0; i < n; i++) {
    uint16_t x;
    memcpy(&x, numbers + 2 * i, 2);
    x = (uint16_t)(x << 1 | x >> 15);
    exponents[i] = (uint8_t)(x >> 8);
    rest[i] = (uint8_t)x;
  }
}

void ck_planes_join_16(const uint8_t *exponents, const uint8_t *rest, size_t n, uint8_t *numbers) {
  for (size_t i = 0; i < n; i++) {
    uint16_t x = (uint16_t)(exponents[i] << 8 | rest[i]);
    x = (uint16_t)(x >> 1 | x << 15);
    memcpy(numbers + 2 * i, &x, 2);
  }
}

void ck_planes_split_32(const uint8_t *numbers, size_t n, uint8_t *planes) {
  for (size_t i = 0; i < n; i++) {
    uint32_t x;
    memcpy(&x, numbers + 4 * i, 4);
    x = x << 1 | x >> 31;
    for (size_t plane = 0; plane < 4; plane++) planes[plane * n + i] = (uint8_t)(x >> (24 - 8 * plane));
  }
}

void ck_planes_join_32(const uint8_t *planes, size_t n, uint8_t *numbers) {
  for (size_t i = 0; i < n; i++) {
    uint32_t x = 0;
    for (size_t plane = 0; plane < 4; plane++) x = x << 8 | planes[plane * n + i];
    x = x >> 1 | x << 31;
    memcpy(numbers + 4 * i, &x, 4);
  }
}

void ck_byte_statistics(const uint8_t *bytes, size_t n, uint64_t *squares, uint64_t *repeats) {
  uint32_t counts[4][256] = {{0}};
  // Four tables: a count that was just stored need not be waited for.
  for (size_t i = 0; i < n; i++) counts[i % 4][bytes[i]]++;
  uint64_t sum = 0;
  for (int byte = 0; byte < 256; byte++) {
    const uint64_t count = (uint64_t)counts[0][byte] + counts[1][byte] + counts[2][byte] + counts[3][byte];
    sum += count * count;
  }
  uint64_t same = 0;
  for (size_t i = 1; i < n; i++) same += bytes[i] == bytes[i - 1];
  *squares = sum;
  *repeats = same;
}
