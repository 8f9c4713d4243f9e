// Drives the C kernels by themselves, without Swift: for processors that this machine is not, in an emulator, and under
// sanitizers, which see every byte because buffers are exactly as long as the kernels may touch. Prints digests of what
// must be the same on all processors, and complaints.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "CKernels.h"

static int complaints;
#define COMPLAIN(...) (complaints++, fprintf(stderr, __VA_ARGS__), fputc('\n', stderr))

// Random numbers.

static uint64_t seed = 1;

static uint32_t random_bits(void) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 32);
}

/// Uniform in -1...1.
static float random_value(void) { return (float)((int32_t)random_bits() >> 8) * 0x1p-23f; }

static void *allocate(size_t size) {
  void *const memory = malloc(size ? size : 1);
  if (!memory) abort();
  return memory;
}

static float *random_values(size_t n) {
  float *const x = allocate(4 * n);
  for (size_t i = 0; i < n; i++) x[i] = random_value();
  return x;
}

static void digest(const char *name, const void *bytes, size_t n) {
  uint64_t hash = 0xcbf29ce484222325; // FNV-1a
  for (size_t i = 0; i < n; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
  printf("%s %016llx\n", name, (unsigned long long)hash);
}

static const struct ck_numbers *plain_numbers(void) { return ck_numbers_at(0); }

static size_t size_of(enum ck_format format) {
  return format == ck_format_f32 ? 4 : format == ck_format_f16 || format == ck_format_bf16 ? 2 : 1;
}

/// Elements of any format; codes are all but NaN.
static uint8_t *random_elements(enum ck_format format, size_t n) {
  float *const x = random_values(n);
  uint8_t *const bytes = allocate(n * size_of(format));
  if (format == ck_format_i8) {
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)random_bits();
  } else {
    plain_numbers()->narrow(x, format, bytes, n);
  }
  free(x);
  return bytes;
}

// Matrix products.

struct operands {
  size_t tokens, outputs, inputs;
  const float *x;
  enum ck_format format;
  const uint8_t *weights;
  /// Null, or [outputs][runs].
  const float *scales;
  size_t scale_run, runs;
  /// Null, or the weights as a matrix [inputs][outputs] of binary32.
  const float *columns;
};

#define GUARD 3
#define UNTOUCHED 12345.0f

static size_t panel_bytes(const struct ck_product *kernel, size_t lines, size_t k, int terms) {
  return lines * ((k + kernel->step - 1) / kernel->step * kernel->step) * kernel->value_bytes *
         (kernel->splits ? (size_t)terms : 1);
}

/// [tokens][outputs + GUARD]
static float *multiply(const struct ck_product *kernel, const struct operands *o, int x_terms, int w_terms) {
  const size_t stride = o->outputs + GUARD;
  float *const out = allocate(4 * o->tokens * stride);
  for (size_t i = 0; i < o->tokens * stride; i++) out[i] = UNTOUCHED;
  if (kernel->begin) kernel->begin();
  for (size_t block = 0; block < o->inputs; block += kernel->block) {
    const size_t k = o->inputs - block < kernel->block ? o->inputs - block : kernel->block;
    for (size_t output = 0; output < o->outputs; output += kernel->tile_outputs) {
      const size_t width = o->outputs - output < kernel->tile_outputs ? o->outputs - output : kernel->tile_outputs;
      void *const w = allocate(panel_bytes(kernel, kernel->tile_outputs, k, w_terms));
      if (o->columns) {
        kernel->pack_columns(o->columns + block * o->outputs + output, o->outputs, width, k, w_terms, w);
      } else {
        const size_t size = size_of(o->format);
        const struct ck_weights rows = {
            .rows = o->weights + (output * o->inputs + block) * size, .format = o->format,
            .stride = o->inputs * size, .count = width, .k = k,
            .scales = o->scales ? o->scales + output * o->runs : NULL, .scale_stride = o->runs,
            .scale_run = o->scale_run, .first_column = block};
        kernel->pack_outputs(&rows, w_terms, w);
      }
      for (size_t token = 0; token < o->tokens; token += kernel->tile_tokens) {
        const size_t height = o->tokens - token < kernel->tile_tokens ? o->tokens - token : kernel->tile_tokens;
        void *const x = allocate(panel_bytes(kernel, kernel->tile_tokens, k, x_terms));
        kernel->pack_tokens(o->x + token * o->inputs + block, o->inputs, height, k, x_terms, x);
        kernel->tile(x, x_terms, w, w_terms, k, out + token * stride + output, stride, height, width, block > 0);
        free(x);
      }
      free(w);
    }
  }
  if (kernel->end) kernel->end();
  return out;
}

static float rounded(float value, int terms) {
  uint16_t half;
  if (terms > 1) return value;
  plain_numbers()->narrow(&value, ck_format_bf16, &half, 1);
  plain_numbers()->widen(&half, ck_format_bf16, &value, 1);
  return value;
}

/// The definition: per output a chain of fused multiply-adds within blocks of 256 inputs; blocks are added in order. And
/// in binary64, with the sum of magnitudes.
static void define(const struct operands *o, int x_terms, int w_terms, float *chains, double *sums, double *sizes) {
  float *const row = allocate(4 * o->inputs);
  for (size_t output = 0; output < o->outputs; output++) {
    if (o->columns) {
      for (size_t i = 0; i < o->inputs; i++) row[i] = o->columns[i * o->outputs + output];
    } else {
      plain_numbers()->widen(o->weights + output * o->inputs * size_of(o->format), o->format, row, o->inputs);
    }
    for (size_t i = 0; i < o->inputs; i++) {
      if (o->scales) row[i] *= o->scales[output * o->runs + i / o->scale_run];
      row[i] = rounded(row[i], w_terms);
    }
    for (size_t token = 0; token < o->tokens; token++) {
      const float *const x = o->x + token * o->inputs;
      float total = 0;
      double sum = 0, size = 0;
      for (size_t block = 0; block < o->inputs; block += 256) {
        float chain = 0;
        for (size_t i = block; i < o->inputs && i < block + 256; i++) {
          const float value = rounded(x[i], x_terms);
          chain = fmaf(value, row[i], chain);
          sum += (double)value * (double)row[i];
          size += fabs((double)value * (double)row[i]);
        }
        total = block ? total + chain : chain;
      }
      chains[token * o->outputs + output] = total;
      sums[token * o->outputs + output] = sum;
      sizes[token * o->outputs + output] = size;
    }
  }
  free(row);
}

struct named_kernel {
  const char *name;
  const struct ck_product *kernel;
  /// Whether it keeps the definition's order, in binary32.
  int is_float32;
  int least_terms, most_terms;
};

static struct named_kernel kernels[16];
static size_t kernel_count;

static void find_kernels(void) {
  static const char *const names[] = {"scalar", "avx2", "avx512", "avx512_bf16", "amx", "neon"};
  for (int level = 0; level <= ck_level_neon; level++) {
    if (!ck_has_level((enum ck_level)level)) continue;
    const int splits = ck_product_at(level, 1)->splits;
    kernels[kernel_count++] = (struct named_kernel){names[level], ck_product_at(level, 1), !splits, 1, 2};
    const struct ck_product *const other = ck_product_at(level, 0);
    if (other == ck_product_at(level, 1)) continue;
    kernels[kernel_count++] = (struct named_kernel){names[level], other, 0, 1, 1};
  }
  kernels[kernel_count++] = (struct named_kernel){"the model of tiles", ck_product_tile_model(), 0, 1, 2};
}

/// Compares every kernel with the definition.
static void check_product(const struct operands *o, int x_terms, int w_terms) {
  const size_t n = o->tokens * o->outputs;
  float *const chains = allocate(4 * n);
  double *const sums = allocate(8 * n), *const sizes = allocate(8 * n);
  define(o, x_terms, w_terms, chains, sums, sizes);
  for (size_t index = 0; index < kernel_count; index++) {
    const struct named_kernel *const named = &kernels[index];
    const int least = x_terms < w_terms ? x_terms : w_terms, most = x_terms < w_terms ? w_terms : x_terms;
    if (least < named->least_terms || most > named->most_terms) continue;
    float *const out = multiply(named->kernel, o, x_terms, w_terms);
    size_t wrong = 0;
    for (size_t token = 0; token < o->tokens; token++) {
      for (size_t output = 0; output < o->outputs + GUARD; output++) {
        const float found = out[token * (o->outputs + GUARD) + output];
        if (output >= o->outputs) {
          wrong += found != UNTOUCHED;
          continue;
        }
        const size_t at = token * o->outputs + output;
        if (named->is_float32) {
          wrong += memcmp(&found, &chains[at], 4) != 0;
        } else {
          // Each of both sides is off by 2^-17 at most where it is split; then the sums' own rounding.
          wrong += !(fabs((double)found - sums[at]) <= sizes[at] * 3e-5 + 1e-30);
        }
      }
    }
    if (wrong) {
      COMPLAIN("%s: %zu of %zux%zux%zu, format %d, %d by %d terms, scales %d, columns %d", named->name, wrong,
               o->tokens, o->inputs, o->outputs, (int)o->format, x_terms, w_terms, o->scales != 0, o->columns != 0);
    }
    free(out);
  }
  free(chains), free(sums), free(sizes);
}

static void check_products(void) {
  static const size_t tokens[] = {1, 2, 4, 5, 6, 7, 12, 13, 32, 33, 37};
  static const size_t outputs[] = {1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80};
  static const size_t inputs[] = {1, 2, 15, 16, 17, 31, 32, 33, 100, 255, 256, 257, 300, 511, 512, 513, 530};
  enum { TOKENS = sizeof tokens / sizeof *tokens, OUTPUTS = sizeof outputs / sizeof *outputs };
  enum { INPUTS = sizeof inputs / sizeof *inputs };
  for (size_t round = 0; round < INPUTS * OUTPUTS; round++) {
    struct operands o = {.inputs = inputs[round % INPUTS],
                         .outputs = outputs[round / INPUTS % OUTPUTS],
                         .tokens = tokens[random_bits() % TOKENS],
                         .format = (enum ck_format)(random_bits() % 5),
                         .scale_run = 1 + random_bits() % 40};
    o.runs = (o.inputs + o.scale_run - 1) / o.scale_run;
    float *const x = random_values(o.tokens * o.inputs);
    uint8_t *const weights = random_elements(o.format, o.outputs * o.inputs);
    float *const scales = random_values(o.outputs * o.runs), *const columns = random_values(o.outputs * o.inputs);
    o.x = x;
    o.weights = weights;
    const uint32_t kind = random_bits() % 4;
    o.scales = kind == 1 ? scales : NULL;
    o.columns = kind == 2 ? columns : NULL;
    // BF16 weights are packed in one term, whatever the activations'.
    for (int terms = 1; terms <= 2; terms++) {
      check_product(&o, terms, terms);
      check_product(&o, terms, 3 - terms);
    }
    free(x), free(weights), free(scales), free(columns);
  }
}

// The other tables: digests, and plain C for some.

#define N 2083

static void check_numbers(const struct ck_numbers *numbers) {
  static const float halves[] = {1.0f, -2.0f, 65504.0f, 0x1p-24f, -0.0f, 448.0f};
  uint16_t narrow[6];
  float wide[6];
  if (numbers->narrow(halves, ck_format_f16, narrow, 6) != -1 || narrow[0] != 0x3C00 || narrow[1] != 0xC000 ||
      narrow[2] != 0x7BFF || narrow[3] != 1 || narrow[4] != 0x8000) {
    COMPLAIN("float16 is narrowed to %x %x %x", narrow[0], narrow[2], narrow[3]);
  }
  numbers->widen(narrow, ck_format_f16, wide, 6);
  if (memcmp(wide, halves, sizeof wide)) COMPLAIN("float16 is not widened to what it was");
  numbers->narrow(halves, ck_format_bf16, narrow, 6);
  if (narrow[0] != 0x3F80 || narrow[1] != 0xC000 || narrow[2] != 0x4780) COMPLAIN("bfloat16 is narrowed to %x", narrow[2]);
  for (int code = 0; code < 256; code++) {
    if ((code & 0x7F) == 0x7F) continue;
    const uint8_t byte = (uint8_t)code;
    uint8_t back;
    float value;
    numbers->widen(&byte, ck_format_e4m3, &value, 1);
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const float expected = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    if (value != (code < 128 ? expected : -expected)) COMPLAIN("e4m3 %x is widened to %g", byte, (double)value);
    numbers->narrow(&value, ck_format_e4m3, &back, 1);
    if (back != byte) COMPLAIN("e4m3 %x comes back as %x", byte, back);
  }
  // Every format from any bits of binary32.
  float *const x = allocate(4 * N);
  for (size_t i = 0; i < N; i++) {
    const uint32_t bits = random_bits() & 0xBFFFFFFF; // magnitudes below 2
    memcpy(&x[i], &bits, 4);
  }
  static const char *const names[] = {"f32", "f16", "bf16", "e4m3"};
  for (enum ck_format format = ck_format_f32; format <= ck_format_e4m3; format++) {
    uint8_t *const bytes = allocate(N * size_of(format)), *const codes = allocate(N);
    float *const values = allocate(4 * N);
    char name[64];
    numbers->narrow(x, format, bytes, N);
    numbers->widen(bytes, format, values, N);
    snprintf(name, sizeof name, "narrow %s", names[format]);
    digest(name, bytes, N * size_of(format));
    snprintf(name, sizeof name, "widen %s", names[format]);
    digest(name, values, 4 * N);
    for (int arithmetic = 0; format != ck_format_e4m3 && arithmetic < 3; arithmetic++) {
      struct ck_fp8_row row;
      if (numbers->fp8_quantize_row(bytes, format, N, (enum ck_fp8_arithmetic)arithmetic, format, codes, &row)) {
        COMPLAIN("a finite row is refused");
      }
      if (numbers->fp8_first_violation(bytes, format, N, codes, row.scale) >= 0) COMPLAIN("codes are out of bounds");
      snprintf(name, sizeof name, "fp8 %s %d", names[format], arithmetic);
      digest(name, codes, N);
      snprintf(name, sizeof name, "measures %s %d", names[format], arithmetic);
      const double measures[] = {(double)row.scale, row.signal, row.error, (double)row.saturated};
      digest(name, measures, sizeof measures);
      numbers->dequantize_row(codes, ck_format_e4m3, N, row.scale, values);
      digest(name, values, 4 * N);
    }
    free(bytes), free(codes), free(values);
  }
  numbers->fp8_activations_row(x, N, 1);
  digest("activations", x, 4 * N);
  // Codes of the row, whose magnitudes are up to 448: anew, most of them beyond the last code.
  numbers->fp8_activations_static(x, N, 0.3f);
  digest("static activations", x, 4 * N);
  numbers->fp8_activations_groups(x, N, 37);
  digest("activations in groups", x, 4 * N);
  free(x);
}

static void check_math(const struct ck_math *math) {
  for (size_t n = 1; n < N; n += n < 40 ? 1 : 681) {
    char name[64];
    float *const x = random_values(n), *const y = random_values(n), *const out = allocate(4 * n);
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    math->rms_norm(x, y, n, 1e-5f, out);
    for (size_t i = 0; i < n; i++) {
      const double expected = (double)x[i] / sqrt(squares / (double)n + 1e-5) * (double)y[i];
      if (fabs((double)out[i] - expected) > 1e-6 * (1 + fabs(expected))) COMPLAIN("rms_norm of %zu: %g", n, (double)out[i]);
    }
    snprintf(name, sizeof name, "rms_norm %zu", n);
    digest(name, out, 4 * n);

    memcpy(out, x, 4 * n);
    math->silu_multiply(out, y, n);
    for (size_t i = 0; i < n; i++) {
      const double expected = (double)x[i] / (1 + exp(-(double)x[i])) * (double)y[i];
      if (fabs((double)out[i] - expected) > 1e-6) COMPLAIN("silu_multiply of %zu: %g", n, (double)out[i]);
    }
    snprintf(name, sizeof name, "silu_multiply %zu", n);
    digest(name, out, 4 * n);

    memcpy(out, x, 4 * n);
    struct ck_softmax state = {-INFINITY, 0};
    math->softmax_block(out, n, 3, &state);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(3 * (double)x[i] - (double)state.largest);
    if (fabs(state.sum / sum - 1) > 1e-5) COMPLAIN("softmax_block of %zu: %g", n, state.sum);
    snprintf(name, sizeof name, "softmax_block %zu", n);
    digest(name, out, 4 * n);
    digest(name, &state.sum, sizeof state.sum);

    // libm's exp and log may differ in the last place between processors: no digest.
    struct ck_log_sum log_sum = {-INFINITY, 0};
    math->log_sum(x, n, &log_sum);
    double expected = 0;
    for (size_t i = 0; i < n; i++) expected += exp((double)x[i]);
    if (fabs((double)log_sum.largest + log(log_sum.sum) - log(expected)) > 1e-5) COMPLAIN("log_sum of %zu", n);

    memcpy(out, x, 4 * n);
    math->add(out, y, n);
    math->scale(out, 0.3f, n);
    math->scale_columns(out, y, 0.7f, n);
    if (n % 2 == 0) math->rope(out, x, y, n / 2);
    double sums[2] = {0, 0};
    math->difference(out, y, n, sums);
    snprintf(name, sizeof name, "elementwise %zu", n);
    digest(name, out, 4 * n);
    digest(name, sums, sizeof sums);

    struct ck_top top;
    for (int i = 0; i < 5; i++) top.value[i] = -INFINITY, top.index[i] = -1;
    math->top(x, n, 0, &top);
    for (size_t i = 0; i < n; i++) {
      if (x[i] > top.value[0]) COMPLAIN("top of %zu", n);
    }
    digest("top", &top, sizeof top);
    free(x), free(y), free(out);
  }
}

static void check_integers(const struct ck_integers *integers) {
  for (size_t n = 1; n < 200; n += n < 40 ? 1 : 29) {
    float *const x = random_values(n), *const y = random_values(n);
    int8_t *const codes = allocate(n);
    const struct ck_integer_range range = {-8, 7, 7.5f, 1e-6f};
    const struct ck_integer_group group = integers->quantize_group(x, n, range, codes);
    digest("group", codes, n);
    const double measures[] = {(double)group.scale, group.signal, group.error};
    digest("group's measures", measures, sizeof measures);
    float *const activations = allocate(4 * n);
    memcpy(activations, x, 4 * n);
    const float scale = integers->int8_activations_row(activations, n);
    digest("int8 activations", activations, 4 * n);
    digest("their scale", &scale, sizeof scale);
    free(activations);
    integers->add_scaled(x, y, 0.3f, n);
    size_t power = 1;
    while (2 * power <= n) power *= 2;
    integers->hadamard_row(x, power);
    digest("hadamard", x, 4 * n);
    free(x), free(y), free(codes);
  }
}

static void check_blocks(const struct ck_blocks *blocks) {
  static const size_t elements[] = {32, 32, 32, 32, 32, 32, 256, 256, 256, 32, 64, 256, 256, 256, 128, 64, 256, 256};
  static const size_t bytes[] = {18, 20, 22, 24, 34, 18, 144, 176, 210, 17, 36, 84, 110, 136, 18, 18, 54, 66};
  for (int type = ck_block_q4_0; type <= ck_block_tq2_0; type++) {
    const size_t rows = 3, columns = 11 * 256, count = rows * columns / elements[type];
    float *const x = random_values(rows * columns), *const weights = random_values(columns);
    uint8_t *const coded = allocate(count * bytes[type]);
    char name[64];
    snprintf(name, sizeof name, "blocks %d", type);
    for (size_t i = 0; i < columns; i++) weights[i] = fabsf(weights[i]);
    for (int weighted = 0; type <= ck_block_nvfp4 && weighted < 2; weighted++) {
      blocks->quantize((enum ck_block)type, x, rows, columns, weighted ? weights : NULL, coded);
      digest(name, coded, count * bytes[type]);
      blocks->dequantize((enum ck_block)type, coded, rows * columns, x);
      digest(name, x, 4 * rows * columns);
    }
    // Any bytes are allowed; the signs of NaN are the processor's.
    for (size_t i = 0; i < count * bytes[type]; i++) coded[i] = (uint8_t)random_bits();
    blocks->dequantize((enum ck_block)type, coded, rows * columns, x);
    for (size_t i = 0; i < rows * columns; i++) {
      if (x[i] != x[i]) x[i] = NAN;
    }
    digest(name, x, 4 * rows * columns);
    free(x), free(weights), free(coded);
  }
}

static void check_planes(void) {
  uint8_t *const bytes = allocate(4 * N), *const planes = allocate(4 * N), *const back = allocate(4 * N);
  for (size_t i = 0; i < 4 * N; i++) bytes[i] = (uint8_t)random_bits();
  ck_planes_split_8(bytes, N, planes, planes + (N + 1) / 2);
  ck_planes_join_8(planes, planes + (N + 1) / 2, N, back);
  if (memcmp(bytes, back, N)) COMPLAIN("planes of bytes are not joined to what they were");
  ck_planes_split_16(bytes, N, planes, planes + N);
  ck_planes_join_16(planes, planes + N, N, back);
  if (memcmp(bytes, back, 2 * N)) COMPLAIN("planes of 16 bits are not joined to what they were");
  ck_planes_split_32(bytes, N, planes);
  ck_planes_join_32(planes, N, back);
  if (memcmp(bytes, back, 4 * N)) COMPLAIN("planes of 32 bits are not joined to what they were");
  digest("planes", planes, 4 * N);
  uint64_t statistics[2];
  ck_byte_statistics(bytes, 4 * N, &statistics[0], &statistics[1]);
  digest("bytes", statistics, sizeof statistics);
  free(bytes), free(planes), free(back);
}

static uint32_t crc32_state(uint32_t state, const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < 8 * n; i++) {
    const uint32_t bit = (state ^ bytes[i / 8] >> i % 8) & 1;
    state = state >> 1 ^ (bit ? 0xEDB88320 : 0);
  }
  return state;
}

static void check_checksum(void) {
  if (!ck_has_crc32_fold()) return;
  for (size_t n = 128; n <= 2048; n += 64) {
    uint8_t *const bytes = allocate(n), reduced[16];
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)random_bits();
    ck_crc32_fold(0x12345678, bytes, n, reduced);
    if (crc32_state(0, reduced, 16) != crc32_state(0x12345678, bytes, n)) COMPLAIN("a wrong CRC-32 of %zu bytes", n);
    free(bytes);
  }
}

static void check_levels(void) {
#if defined(__aarch64__)
  if (ck_best_level() != ck_level_neon) COMPLAIN("the best level is %d", (int)ck_best_level());
  for (int level = ck_level_avx2; level <= ck_level_amx; level++) {
    if (ck_has_level((enum ck_level)level)) COMPLAIN("there is level %d", level);
    // A limit between two levels that exist leaves the lower one.
    ck_limit_level((enum ck_level)level);
    if (ck_best_level() != ck_level_scalar) COMPLAIN("limit %d leaves level %d", level, (int)ck_best_level());
  }
  if (ck_product_at(ck_level_neon, 1) == ck_product_at(ck_level_scalar, 1)) COMPLAIN("NEON's kernel is the portable one");
#endif
  ck_limit_level(ck_level_scalar);
  if (ck_best_level() != ck_level_scalar) COMPLAIN("the limit is not kept");
  ck_limit_level(ck_level_neon);
  if (!ck_has_level(ck_level_scalar) || !ck_has_level(ck_best_level())) COMPLAIN("the best level is missing");
}

int main(int count, char **arguments) {
  if (count > 1) {
    ck_limit_level((enum ck_level)atoi(arguments[1]));
  } else {
    check_levels();
    find_kernels();
    for (size_t i = 0; i < kernel_count; i++) fprintf(stderr, "product: %s\n", kernels[i].name);
    check_products();
  }
  const int best = (int)ck_best_level();
  seed = 2;
  check_numbers(ck_numbers_at(best));
  check_math(ck_math_at(best));
  check_integers(ck_integers_at(best));
  check_blocks(ck_blocks_at(best));
  check_planes();
  check_checksum();
  ck_limit_level(ck_level_scalar); // without the wide fold
  check_checksum();
  return complaints != 0;
}
