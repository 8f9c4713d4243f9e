// The CRC-32 of zip records (ISO 3309) by carry-less multiplication, where the processor has it.
#ifndef CKERNELS_CHECKSUM_H
#define CKERNELS_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/// Whether `ck_crc32_fold` may be called.
int ck_has_crc32_fold(void);

/// Reduces n bytes, a multiple of 64 and at least 128, behind a register of the CRC (not complemented) to sixteen bytes
/// that leave a register of zero in the same state as the n bytes leave the given one.
void ck_crc32_fold(uint32_t state, const uint8_t *bytes, size_t n, uint8_t reduced[16]);

#endif
