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
