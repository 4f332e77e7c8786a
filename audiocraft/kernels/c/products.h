/* Products of few rows with large matrices, at the speed at which the matrix comes from memory. */

#pragma once

#include <stdlib.h>
#include <string.h>

#include "int8.h"
#include "pool.h"
#include "structs.h"
#include "vectors.h"

/* ---------------------------------------------------------------- products */

/* TILE rows of a matrix at a time, for up to FEW tokens while it is unpacked, or up to MANY once it is. */
#define SCALES 64 /* that are read at a time */
#if VL == 16
#define MANY 6
#else
#define MANY 3
#endif
#define MOST_SUMS (MANY < FEW ? FEW : MANY)

/* The scale of group g of a row. */
INLINE float scale_of(const Matrix *w, int row, int g) {
    return from_bf16(w->scales[(size_t)row * (w->cols / GROUP) + g]);
}

/* Those of groups first ... last - 1, at most SCALES. */
INLINE void read_scales(const Matrix *w, int row, int first, int last, float *scales) {
    for (int g = first; g < last; g++) scales[g - first] = scale_of(w, row, g);
}

/* y[M][n ... n + N] = x[M] . w[n ... n + N], N rows of the matrix at once so that their reads overlap. M, N, the kind
 * and `ahead`, whether to fetch the next tile, are constants where this is inlined. */
INLINE void tile(const int kind, const int M, const int N, const int ahead, const Matrix *w, const float *x, int ldx,
                 int n, float *y, int ldy) {
    vf acc[MOST_SUMS][TILE];
    float scales[TILE][SCALES];
    const int cols = w->cols, groups = cols / GROUP;
    const size_t stride = row_bytes(kind, cols);
    const uint8_t *row = (const uint8_t *)w->data + stride * n;
    for (int m = 0; m < M; m++)
        for (int j = 0; j < N; j++) acc[m][j] = (vf){0};
    for (int first = 0; (kind == I4 || kind == I8) && first < groups; first += SCALES) {
        const int last = groups - first < SCALES ? groups : first + SCALES;
        for (int j = 0; j < N; j++) read_scales(w, n + j, first, last, scales[j]);
        for (int g = first; kind == I4 && g < last; g++) {
            const int k = g * GROUP;
            fetch(row + N * (stride + k / 2), N * 32);
            for (int shift = 0; shift < 8; shift += 4)
                for (int part = 0; part < 32; part += VL) {
                    vf in[FEW];
                    for (int m = 0; m < M; m++) in[m] = load(x + (size_t)m * ldx + k + 8 * shift + part);
                    for (int j = 0; j < N; j++) {
                        vi pair = load_nibbles(row + j * stride + k / 2 + part);
                        vf value = nibble(pair >> shift) * splat(scales[j][g - first]);
                        for (int m = 0; m < M; m++) acc[m][j] = fma_(value, in[m], acc[m][j]);
                    }
                }
        }
        for (int g = first; kind == I8 && g < last; g++) {
            const int k = g * GROUP;
            vf scale[TILE];
            for (int j = 0; j < N; j++) scale[j] = splat(scales[j][g - first]);
            fetch(row + N * (stride + k), N * 64);
            for (int i = k; i < k + GROUP; i += VL) {
                vf in[FEW];
                for (int m = 0; m < M; m++) in[m] = load(x + (size_t)m * ldx + i);
                for (int j = 0; j < N; j++) {
                    vf value = load_i8((const int8_t *)row + j * stride + i) * scale[j];
                    for (int m = 0; m < M; m++) acc[m][j] = fma_(value, in[m], acc[m][j]);
                }
            }
        }
    }
    if (kind != I4 && kind != I8) {
        for (int k = 0; k < cols; k += VL) {
            vf in[MOST_SUMS];
            for (int m = 0; m < M; m++) in[m] = load(x + (size_t)m * ldx + k);
            if (ahead) fetch(row + N * (stride + k * (kind == F32 ? 4 : 2)), N * VL * (kind == F32 ? 4 : 2));
            for (int j = 0; j < N; j++) {
                const uint8_t *at = row + j * stride;
                vf value = kind == F32    ? load((const float *)at + k)
                           : kind == BF16 ? load_bf16((const uint16_t *)at + k)
                                          : load_f16((const uint16_t *)at + k);
                for (int m = 0; m < M; m++) acc[m][j] = fma_(value, in[m], acc[m][j]);
            }
        }
    }
    for (int m = 0; m < M; m++) {
        if (N == 4) {
            *(v4 *)(y + (size_t)m * ldy + n) = sum4(acc[m][0], acc[m][1], acc[m][2], acc[m][3]);
        } else {
            for (int j = 0; j < N; j++) y[(size_t)m * ldy + n + j] = sum(acc[m][j]);
        }
    }
}

#define TILE_OF(kind)                                                                                               \
    static void tile_##kind(int M, const Matrix *w, const float *x, int ldx, int n, int end, float *y, int ldy) {   \
        for (; n + TILE <= end; n += TILE) switch (M) {                                                             \
            case 1: tile(kind, 1, TILE, 1, w, x, ldx, n, y, ldy); break;                                            \
            case 2: tile(kind, 2, TILE, 1, w, x, ldx, n, y, ldy); break;                                            \
            case 3: tile(kind, 3, TILE, 1, w, x, ldx, n, y, ldy); break;                                            \
            default: FOUR(kind) break;                                                                              \
            }                                                                                                       \
        for (; n < end; n++)                                                                                        \
            for (int m = 0; m < M; m++)                                                                             \
                tile(kind, 1, 1, 0, w, x + (size_t)m * ldx, ldx, n, y + (size_t)m * ldy, ldy);                      \
    }
#if VL == 16
#define FOUR(kind) tile(kind, 4, TILE, 1, w, x, ldx, n, y, ldy);
#else /* 16 sums would not fit in the registers */
#define FOUR(kind)                         \
    tile(kind, 4, 2, 1, w, x, ldx, n, y, ldy); \
    tile(kind, 4, 2, 1, w, x, ldx, n + 2, y, ldy);
#endif

TILE_OF(F32)
TILE_OF(BF16)
TILE_OF(F16)
TILE_OF(I8)
TILE_OF(I4)

static void any_tile(int M, const Matrix *w, const float *x, int ldx, int n, int end, float *y, int ldy) {
    switch (w->kind) {
    case F32: tile_F32(M, w, x, ldx, n, end, y, ldy); break;
    case BF16: tile_BF16(M, w, x, ldx, n, end, y, ldy); break;
    case F16: tile_F16(M, w, x, ldx, n, end, y, ldy); break;
    case I8: tile_I8(M, w, x, ldx, n, end, y, ldy); break;
    default: tile_I4(M, w, x, ldx, n, end, y, ldy);
    }
}

/* The first `rows` rows of a float32 matrix that is in the cache, for M <= MANY tokens. */
static void tile_near(int M, const Matrix *w, int rows, const float *x, int ldx, float *y, int ldy) {
    int n = 0;
    for (; n + TILE <= rows; n += TILE) switch (M) {
        case 1: tile(F32, 1, TILE, 0, w, x, ldx, n, y, ldy); break;
        case 2: tile(F32, 2, TILE, 0, w, x, ldx, n, y, ldy); break;
        case 3: tile(F32, 3, TILE, 0, w, x, ldx, n, y, ldy); break;
#if VL == 16
        case 4: tile(F32, 4, TILE, 0, w, x, ldx, n, y, ldy); break;
        case 5: tile(F32, 5, TILE, 0, w, x, ldx, n, y, ldy); break;
        default: tile(F32, 6, TILE, 0, w, x, ldx, n, y, ldy); break;
#endif
        }
    for (; n < rows; n++)
        for (int m = 0; m < M; m++) tile(F32, 1, 1, 0, w, x + (size_t)m * ldx, ldx, n, y + (size_t)m * ldy, ldy);
}

/* Row n of the matrix as float32: the very values that `tile` multiplies. The kind is a constant where this is inlined. */
INLINE void unpack_kind(const int kind, const Matrix *w, int n, float *out) {
    const int cols = w->cols, run = kind == I8 || kind == I4 ? GROUP : VL;
    const uint8_t *row = (const uint8_t *)w->data + row_bytes(kind, cols) * n;
    const size_t far = row_bytes(kind, cols) * TILE;
    vf scale = {0};
    for (int start = 0; start < cols; start += run) {
        if (kind == I8 || kind == I4) scale = splat(scale_of(w, n, start / GROUP));
        for (int k = start; k < start + run; k += VL) {
            __builtin_prefetch(row + far + row_bytes(kind, k));
            if (kind == BF16) {
                store(out + k, load_bf16((const uint16_t *)row + k));
            } else if (kind == F16) {
                store(out + k, load_f16((const uint16_t *)row + k));
            } else if (kind == I8) {
                store(out + k, load_i8((const int8_t *)row + k) * scale);
            } else {
                vi pair = load_nibbles(row + k / 64 * 32 + k % 32);
                store(out + k, nibble(k % 64 < 32 ? pair : pair >> 4) * scale);
            }
        }
    }
}

static void unpack(const Matrix *w, int n, float *out) {
    switch (w->kind) {
    case BF16: unpack_kind(BF16, w, n, out); break;
    case F16: unpack_kind(F16, w, n, out); break;
    case I8: unpack_kind(I8, w, n, out); break;
    default: unpack_kind(I4, w, n, out);
    }
}

/* ---------------------------------------------------------------- products as jobs */

typedef struct {
    const Matrix *w;
    const float *x; /* [M, cols] */
    float *y;       /* [M, ldy] */
    int M, ldy, activation, add, chunk;
    Inputs in;       /* x in whole numbers, where w is multiplied so */
    float *unpacked; /* [threads, unpacked_size(cols)] */
    const float *const *extra; /* of each token, [rows] to be added before the activation, or NULL; all may be NULL */
} Product;

INLINE float *scratch_floats(size_t count) {
    void *memory = NULL;
    if (count > SIZE_MAX / 8) return NULL;
    return posix_memalign(&memory, 64, count * sizeof(float)) ? NULL : memory;
}

/* Floats for the rows of a matrix that each thread unpacks for many tokens: see `product_task`. */
INLINE size_t unpacked_size(size_t cols) { return TILE * ((cols + 15) / 16 * 16); }

static void finish_outputs(const Product *p, int m, int n, int end, const float *made) {
    float *y = p->y + (size_t)m * p->ldy;
    const float *bias = p->w->bias, *extra = p->extra ? p->extra[m] : NULL;
    int i = n;
    for (; i + VL <= end; i += VL) {
        vf value = load(made + i - n);
        if (bias) value += load(bias + i);
        if (extra) value += load(extra + i);
        if (p->activation == GELU) value = gelu(value);
        if (p->activation == RELU) value = blend((vi)(value > splat(0.0f)), value, splat(0.0f));
        if (p->add) value += load(y + i);
        store(y + i, value);
    }
    if (i < end) { /* the same arithmetic for what is left over */
        float rest[VL] = {0}, there[VL] = {0};
        for (int j = i; j < end; j++) rest[j - i] = made[j - n], there[j - i] = p->add ? y[j] : 0.0f;
        if (bias)
            for (int j = i; j < end; j++) rest[j - i] += bias[j];
        if (extra)
            for (int j = i; j < end; j++) rest[j - i] += extra[j];
        vf value = load(rest);
        if (p->activation == GELU) value = gelu(value);
        if (p->activation == RELU) value = blend((vi)(value > splat(0.0f)), value, splat(0.0f));
        if (p->add) value += load(there);
        store(rest, value);
        for (int j = i; j < end; j++) y[j] = rest[j - i];
    }
}

/* Rows of a matrix that are one task, and tokens that pass at once. */
enum { CHUNK = 64, AT_ONCE = 64 };

/* Outputs of one chunk of the matrix's rows, for all tokens. */
static void product_task(void *job, int task, int thread) {
    const Product *p = job;
    const Matrix *w = p->w;
    int n = task * p->chunk, end = n + p->chunk < w->rows ? n + p->chunk : w->rows;
    _Alignas(64) float made[AT_ONCE][CHUNK];
    if (is_int8_dot(w)) {
        int8_tiles(p->M, w, p->in, n, end, &made[0][0] - n, CHUNK);
    } else if (p->M <= FEW) {
        any_tile(p->M, w, p->x, p->w->cols, n, end, &made[0][0] - n, CHUNK);
    } else { /* with many tokens, a tile of the matrix is unpacked once and stays in the first cache */
        const int cols = w->cols;
        float *dense = w->kind == F32 ? NULL : p->unpacked + unpacked_size(cols) * thread;
        for (int at = n; at < end; at += TILE) {
            int count = end - at < TILE ? end - at : TILE;
            Matrix part = {.kind = F32, .rows = count, .cols = cols, .data = dense};
            if (dense)
                for (int j = 0; j < count; j++) unpack(w, at + j, dense + (size_t)j * cols);
            else
                part.data = (const float *)w->data + (size_t)at * cols;
            for (int m = 0; m < p->M; m += MANY) {
                int M = p->M - m < MANY ? p->M - m : MANY;
                tile_near(M, &part, count, p->x + (size_t)m * p->w->cols, p->w->cols, &made[m][at - n], CHUNK);
            }
        }
    }
    for (int m = 0; m < p->M; m++) finish_outputs(p, m, n, end, made[m]);
}

static void quantize_task(void *job, int task, int thread) {
    (void)thread;
    const Product *p = job;
    quantize_inputs(p->x + (size_t)task * p->w->cols, p->w, task, p->in);
}

/* `inputs`: for the quantised inputs of M tokens; p.unpacked is there wherever M is more than FEW. */
static void product(int threads, Product p, float *inputs) {
    const Matrix *w = p.w;
    int chunk = (w->rows / (threads * 4) + TILE - 1) / TILE * TILE;
    p.chunk = threads == 1 || chunk > CHUNK ? CHUNK : chunk < 16 ? 16 : chunk;
    if (w->kind >= PANELS8 && p.chunk % PANEL) p.chunk = p.chunk < PANEL ? PANEL : p.chunk / PANEL * PANEL;
    if (is_int8_dot(w)) {
        p.in = place_inputs(inputs, p.M, w->cols);
        parallel(p.M > FEW ? threads : 1, p.M, quantize_task, &p);
    }
    parallel(threads, (w->rows + p.chunk - 1) / p.chunk, product_task, &p);
}
