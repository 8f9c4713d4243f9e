// Kernels in C: plain types only, one file per concern, one table of functions per instruction set.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "CKernelsChecksum.h"
#include "CKernelsGroups.h"
#include "CKernelsBlocks.h"
#include "CKernelsFeedback.h"
#include "CKernelsMath.h"
#include "CKernelsMemory.h"
#include "CKernelsNumbers.h"
#include "CKernelsPlanes.h"
#include "CKernelsProduct.h"
#include "CKernelsSummary.h"

/// Instruction sets with kernels of their own, each with what the ones before it have: on x86-64 the first five, on aarch64
/// scalar and NEON.
enum __attribute__((enum_extensibility(closed))) ck_level {
  ck_level_scalar = 0,
  ck_level_avx2 = 1,
  ck_level_avx512 = 2,
  ck_level_avx512_bf16 = 3,
  ck_level_amx = 4,
  ck_level_neon = 5,
};

/// Whether the processor and the operating system support a level (CPUID, XGETBV and, for the tiles of AMX, the system's
/// permission; asked once per process).
int ck_has_level(enum ck_level level);

/// The best level that is supported and that `ck_limit_level` allows.
enum ck_level ck_best_level(void);

/// From now on the best level is at most this one, in the whole process.
void ck_limit_level(enum ck_level level);

#endif
