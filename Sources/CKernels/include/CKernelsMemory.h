// What only C can say to the system and its allocator.
#ifndef CKERNELS_MEMORY_H
#define CKERNELS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/// From now on blocks up to so many bytes come from the heap, and the heap's end is given back to the system only when
/// more than so many bytes are free there. Does nothing where the allocator has no such settings.
void ck_keep_freed_memory(int largest_block, int most_free);

/// Asks for pages of 2 MiB where whole ones lie within: memory that is written from end to end costs hundreds of times
/// fewer page faults. A hint that changes nothing else.
void ck_advise_huge_pages(void *start, size_t bytes);

/// Whether a byte of a file is in the system's page cache; 0 also where the system does not say.
int ck_is_cached(int descriptor, int64_t offset);

#endif
