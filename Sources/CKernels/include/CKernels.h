// Kernels in C: plain types only, one file per concern, one table of functions per instruction set.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "CKernelsChecksum.h"
#include "CKernelsBlocks.h"
#include "CKernelsMath.h"
#include "CKernelsMemory.h"
#include "CKernelsNumbers.h"
#include "CKernelsPlanes.h"

/// Instruction sets with kernels of their own, in ascending order of preference on x86-64.
/// NEON is the only level above scalar on aarch64.
enum __attribute__((enum_extensibility(closed))) ck_level {
  ck_level_scalar = 0,
  ck_level_avx2 = 1,
  ck_level_avx512 = 2,
};

/// The best level that the processor and the operating system support (CPUID and XGETBV, asked once per process), and
/// that `ck_limit_level` allows.
enum ck_level ck_best_level(void);

/// From now on the best level is at most this one, in the whole process.
void ck_limit_level(enum ck_level level);

#endif
