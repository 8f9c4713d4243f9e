#if defined(__linux__)
#define _GNU_SOURCE // preadv2
#endif
#include "CKernelsMemory.h"
#include <stdlib.h>

#if defined(__GLIBC__)
#include <malloc.h>

void ck_keep_freed_memory(int largest_block, int most_free) {
  mallopt(M_MMAP_THRESHOLD, largest_block);
  mallopt(M_TRIM_THRESHOLD, most_free);
}
#else
void ck_keep_freed_memory(int largest_block, int most_free) { (void)largest_block, (void)most_free; }
#endif

#if defined(__linux__)
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>

void ck_advise_huge_pages(void *start, size_t bytes) {
  const uintptr_t huge = 2 << 20;
  const uintptr_t first = ((uintptr_t)start + huge - 1) / huge * huge;
  const uintptr_t end = ((uintptr_t)start + bytes) / huge * huge;
  if (end > first) madvise((void *)first, end - first, MADV_HUGEPAGE);
}

int ck_is_cached(int descriptor, int64_t offset) {
  char byte;
  const struct iovec part = {&byte, 1};
  return preadv2(descriptor, &part, 1, offset, RWF_NOWAIT) == 1;
}
#else
int ck_is_cached(int descriptor, int64_t offset) { return (void)descriptor, (void)offset, 0; }

void ck_advise_huge_pages(void *start, size_t bytes) { (void)start, (void)bytes; }
#endif
