#include "fuzz_allocations.h"

#include <stdatomic.h>

// sanitizer/allocator_interface.h of compiler-rt, weak: a build without the address sanitizer has none of them.
__attribute__((weak)) int __sanitizer_install_malloc_and_free_hooks(
    void (*malloc_hook)(const volatile void *, size_t), void (*free_hook)(const volatile void *));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *);

static _Atomic long held;
static _Atomic long most;
static long ground;

static void took(const volatile void *place, size_t size) {
  (void)place;
  long now = atomic_fetch_add(&held, (long)size) + (long)size;
  long before = atomic_load(&most);
  while (now > before && !atomic_compare_exchange_weak(&most, &before, now)) {
  }
}

static void gave(const volatile void *place) {
  if (place) atomic_fetch_sub(&held, (long)__sanitizer_get_allocated_size(place));
}

_Bool fuzz_allocations_watch(void) {
  return __sanitizer_install_malloc_and_free_hooks && __sanitizer_get_allocated_size
         && __sanitizer_install_malloc_and_free_hooks(took, gave);
}

void fuzz_allocations_begin(void) {
  ground = atomic_load(&held);
  atomic_store(&most, ground);
}

size_t fuzz_allocations_peak(void) { return (size_t)(atomic_load(&most) - ground); }
