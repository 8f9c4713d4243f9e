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

void ck_advise_huge_pages(void *start, size_t bytes) {
  const uintptr_t huge = 2 << 20;
  const uintptr_t first = ((uintptr_t)start + huge - 1) / huge * huge;
  const uintptr_t end = ((uintptr_t)start + bytes) / huge * huge;
  if (end > first) madvise((void *)first, end - first, MADV_HUGEPAGE);
}
#else
void ck_advise_huge_pages(void *start, size_t bytes) { (void)start, (void)bytes; }
#endif
