#include "product.h"
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(                                                                                    \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-bf16"))), apply_to = function)

/// LDTILECFG's operand: palette 1, eight registers of sixteen rows of 64 bytes (Intel SDM volume 1, chapter 18).
struct tile_configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes_per_row[16];
  uint8_t rows[16];
};

static void configure_tiles(void) {
  struct tile_configuration configuration = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    configuration.bytes_per_row[i] = 64;
    configuration.rows[i] = 16;
  }
  _tile_loadconfig(&configuration);
}

static void release_tiles(void) { _tile_release(); }

#define PRODUCT_TABLE ck_product_amx
#define NUMBERS_TABLE ck_numbers_avx512
#define TILE_BEGIN configure_tiles
#define TILE_END release_tiles
#define TILE_LOAD(tile, at, stride) _tile_loadd(tile, at, stride)
#define TILE_STORE(tile, at, stride) _tile_stored(tile, at, stride)
#define TILE_ZERO(tile) _tile_zero(tile)
#define TILE_PRODUCT(sum, a, b) _tile_dpbf16ps(sum, a, b)
#include "product_tiles.inc"
#pragma clang attribute pop
#endif
