#ifndef FUZZ_ALLOCATIONS_H
#define FUZZ_ALLOCATIONS_H

#include <stddef.h>

/// Starts to watch allocations through the sanitizer's hooks; false in a build without a sanitizer that has them.
_Bool fuzz_allocations_watch(void);
/// Takes what is allocated now for the ground from which the peak is measured.
void fuzz_allocations_begin(void);
/// The most bytes that were allocated together since `fuzz_allocations_begin`, beyond what was then.
size_t fuzz_allocations_peak(void);

#endif
