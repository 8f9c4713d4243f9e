// The tile kernel with each instruction written out in C, after Intel's SDM volume 2 (TILELOADD, TILESTORED, TDPBF16PS), so
// that packing, blocking and edges are tested on machines without tiles. Differs from them in subnormal numbers, which
// they take for zeros.
#include "product.h"

#pragma STDC FP_CONTRACT OFF
#include "vectors.inc"

static _Thread_local u32x16 registers[8][16];

static void load_register(int tile, const void *at, size_t stride) {
  for (size_t row = 0; row < 16; row++) __builtin_memcpy(&registers[tile][row], (const char *)at + row * stride, 64);
}

static void store_register(int tile, void *at, size_t stride) {
  for (size_t row = 0; row < 16; row++) __builtin_memcpy((char *)at + row * stride, &registers[tile][row], 64);
}

static void zero_register(int tile) { __builtin_memset(registers[tile], 0, sizeof registers[tile]); }

/// Even and odd inputs are two chains from zero, each a fused multiply-add per pair; their sum is added to the register.
/// The product of two BF16 values is exact in binary32, so that multiplying first is the same.
static void multiply_registers(int sum, int a, int b) {
  for (int row = 0; row < 16; row++) {
    f32x16 even = 0, odd = 0;
    for (int pair = 0; pair < 16; pair++) {
      const u32x16 x = registers[a][row][pair], w = registers[b][pair];
      even += (f32x16)(x << 16) * (f32x16)(w << 16);
      odd += (f32x16)(x & 0xFFFF0000) * (f32x16)(w & 0xFFFF0000);
    }
    registers[sum][row] = (u32x16)((f32x16)registers[sum][row] + (even + odd));
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
