// Numbers taken apart into planes, so that their exponents lie together: what compresses apart from what does not.
#ifndef CKERNELS_PLANES_H
#define CKERNELS_PLANES_H

#include <stddef.h>
#include <stdint.h>

/// Every number is rotated left by one bit, which puts the sign behind the mantissa; its bytes go to the planes, the one
/// with the exponent first. Numbers of one byte have planes of nibbles, the number with the lower index in the low nibble.
/// n: numbers. A plane of nibbles has (n + 1) / 2 bytes, another n.
void ck_planes_split_8(const uint8_t *numbers, size_t n, uint8_t *exponents, uint8_t *rest);
void ck_planes_split_16(const uint8_t *numbers, size_t n, uint8_t *exponents, uint8_t *rest);
/// planes: four, one behind the other.
void ck_planes_split_32(const uint8_t *numbers, size_t n, uint8_t *planes);

/// The inverse.
void ck_planes_join_8(const uint8_t *exponents, const uint8_t *rest, size_t n, uint8_t *numbers);
void ck_planes_join_16(const uint8_t *exponents, const uint8_t *rest, size_t n, uint8_t *numbers);
void ck_planes_join_32(const uint8_t *planes, size_t n, uint8_t *numbers);

/// Sum of the squares of the bytes' frequencies, and how many bytes are the same as the one before them.
void ck_byte_statistics(const uint8_t *bytes, size_t n, uint64_t *squares, uint64_t *repeats);

#endif
