// Shared by the files of the matrix product; not seen from Swift.
#ifndef PRODUCT_H
#define PRODUCT_H

#include "CKernelsProduct.h"
#include "numbers.h"

extern const struct ck_product ck_product_portable, ck_product_tile_portable;
#if defined(__x86_64__)
extern const struct ck_product ck_product_avx2, ck_product_avx512, ck_product_avx512_bf16, ck_product_amx;
#endif
#if defined(__aarch64__)
extern const struct ck_product ck_product_neon;
#endif

#endif
