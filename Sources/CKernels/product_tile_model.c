// The tile kernel with each instruction written out in C, after Intel's SDM volume 2 (TILELOADD, TILESTORED, TDPBF16PS), so
// that packing, blocking and edges are tested on machines without tiles. Differs from them in subnormal numbers, which
// they take for zeros.
#include "product.h"

static _Thread_local uint32_t registers[8][16][16];

static void load_register(int tile, const void *at, size_t stride) {
  for (size_t row = 0; row < 16; row++) __builtin_memcpy(registers[tile][row], (const char *)at + row * stride, 64);
}

static void store_register(int tile, void *at, size_t stride) {
  for (size_t row = 0; row < 16; row++) __builtin_memcpy((char *)at + row * stride, registers[tile][row], 64);
}

static void zero_register(int tile) { __builtin_memset(registers[tile], 0, sizeof registers[tile]); }

static float value(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

/// Even and odd inputs are two chains from zero, each a fused multiply-add per pair; their sum is added to the register.
static void multiply_registers(int sum, int a, int b) {
  for (int row = 0; row < 16; row++) {
    for (int column = 0; column < 16; column++) {
      float even = 0, odd = 0;
      for (int pair = 0; pair < 16; pair++) {
        const uint32_t x = registers[a][row][pair], w = registers[b][pair][column];
        even = __builtin_fmaf(value(x << 16), value(w << 16), even);
        odd = __builtin_fmaf(value(x & 0xFFFF0000), value(w & 0xFFFF0000), odd);
      }
      const float total = value(registers[sum][row][column]) + (even + odd);
      __builtin_memcpy(&registers[sum][row][column], &total, 4);
    }
  }
}

#define PRODUCT_TABLE ck_product_tile_portable
#define NUMBERS_TABLE ck_numbers_scalar
#define TILE_BEGIN 0
#define TILE_END 0
#define TILE_LOAD(tile, at, stride) load_register(tile, at, stride)
#define TILE_STORE(tile, at, stride) store_register(tile, at, stride)
#define TILE_ZERO(tile) zero_register(tile)
#define TILE_PRODUCT(sum, a, b) multiply_registers(sum, a, b)
#include "product_tiles.inc"
