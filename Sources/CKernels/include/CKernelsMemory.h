// What only C can say to the system's allocator.
#ifndef CKERNELS_MEMORY_H
#define CKERNELS_MEMORY_H

/// From now on blocks up to so many bytes come from the heap, and the heap's end is given back to the system only when
/// more than so many bytes are free there. Does nothing where the allocator has no such settings.
void ck_keep_freed_memory(int largest_block, int most_free);

#endif
