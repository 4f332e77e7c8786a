/* Products of few rows with large matrices, at the speed at which the matrix comes from memory. */

#pragma once

#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "structs.h"
#include "vectors.h"

/* ---------------------------------------------------------------- products */

/* TILE rows of a matrix at a time, for up to FEW tokens while it is unpacked, or up to MANY once it is. */
#define TILE 4
#define FEW 4
#define SCALES 64 /* that are read at a time */
#if VL == 16
#define MANY 6
#else
#define MANY 3
#endif
#define MOST_SUMS (MANY < FEW ? FEW : MANY)

INLINE size_t row_bytes(int kind, int cols) {
    const size_t count = (size_t)cols;
    return kind == F32 ? 4 * count : kind == I8 ? count : kind == I4 ? count / 2 : 2 * count;
}

/* The scale of group g of a row. */
INLINE float scale_of(const Matrix *w, int row, int g) {
    const uint16_t half = w->scales[(size_t)row * (w->cols / GROUP) + g];
    union { uint32_t bits; float value; } scale = {.bits = (uint32_t)half << 16};
    return scale.value;
}

/* Those of groups first ... last - 1, at most SCALES. */
INLINE void read_scales(const Matrix *w, int row, int first, int last, float *scales) {
    for (int g = first; g < last; g++) scales[g - first] = scale_of(w, row, g);
}

/* Ask for the cache lines of `count` bytes; the processor alone does not see where the next rows are. */
INLINE void fetch(const void *at, int count) {
    for (int i = 0; i < count; i += 64) __builtin_prefetch((const uint8_t *)at + i);
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

/* ---------------------------------------------------------------- products of bytes */

/* Where the processor multiplies bytes (AVX-512 VNNI), 8- and 4-bit weights are not turned into floats: the inputs are
 * rounded to 8 bits, in groups of GROUP with a scale each, and everything inside a group is exact. */

/* Of each token: the bytes, what four neighbours add up to (which takes the weights' offset away), and the scales. Bytes
 * of a group lie together for all tokens: far apart, they would crowd each other out of the first cache. */
typedef struct {
    int tokens;
    int8_t *bytes; /* [groups, tokens, GROUP] */
    int32_t *quad_sums, *all; /* all: of a whole group */
    float *scales;
} Inputs;

/* Room for one token, in floats: cols / 4 twice and cols / GROUP twice, in whole cache lines. */
INLINE size_t inputs_size(size_t cols) { return cols / 2 + 2 * ((cols / GROUP + 15) / 16 * 16); }

INLINE Inputs place_inputs(float *room, int tokens, int cols) {
    float *quad_sums = room + (size_t)tokens * (cols / 4), *scales = quad_sums + (size_t)tokens * (cols / 4);
    float *all = scales + (size_t)tokens * ((cols / GROUP + 15) / 16 * 16);
    return (Inputs){tokens, (int8_t *)room, (int32_t *)quad_sums, (int32_t *)all, scales};
}

INLINE int8_t *bytes_of_group(Inputs in, int g, int t) { return in.bytes + ((size_t)g * in.tokens + t) * GROUP; }

INLINE int scales_stride(int cols) { return (cols / GROUP + 15) / 16 * 16; }

#if defined(__AVX512VNNI__) && VL == 16
#define HAS_INT8_DOT 1

INLINE int is_int8_dot(const Matrix *w) { return w->kind >= I8; }

/* Round token t, x[cols]. */
static void quantize_inputs(const float *x, const Matrix *w, int t, Inputs in) {
    const int cols = w->cols, shift = w->kind == I8 || w->kind == PANELS8 ? 7 : 3; /* stored weights are 2^shift too large */
    int32_t *quad_sums = in.quad_sums + (size_t)t * (cols / 4);
    float *scales = in.scales + (size_t)t * scales_stride(cols);
    int32_t *all_of = in.all + (size_t)t * scales_stride(cols);
    for (int k = 0, g = 0; k < cols; k += GROUP, g++) {
        int8_t *bytes = bytes_of_group(in, g, t);
        __m512 most = _mm512_setzero_ps();
        for (int i = 0; i < GROUP; i += 16) most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(x + k + i)));
        float top = _mm512_reduce_max_ps(most);
        __m512 back = _mm512_set1_ps(top > 0.0f ? 127.0f / top : 0.0f);
        scales[g] = top / 127.0f;
        for (int i = 0; i < GROUP; i += 16) {
            __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + k + i), back));
            _mm_storeu_si128((__m128i *)(bytes + i), _mm512_cvtsepi32_epi8(whole));
        }
        __m512i all = _mm512_loadu_si512(bytes);
        __m512i four = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), all);
        four = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(four, shift));
        _mm512_storeu_si512(quad_sums + k / 4, four);
        all_of[g] = _mm512_reduce_add_epi32(four);
    }
}

/* As `tile`, with x rounded. Sums of products of bytes are exact; of groups, they are added up in float32, in order. */
INLINE void int8_tile(const int kind, const int M, const int N, const Matrix *w, Inputs in, int t, int n, float *y,
                       int ldy) {
    const int cols = w->cols, groups = cols / GROUP, wide = scales_stride(cols);
    const size_t stride = row_bytes(kind, cols);
    const uint8_t *row = (const uint8_t *)w->data + stride * n;
    const int32_t *quad_sums = in.quad_sums + (size_t)t * (cols / 4);
    const __m512i low = _mm512_set1_epi8(15), offset = _mm512_set1_epi8((char)128);
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    __m512 acc[FEW][TILE];
    float scales[FEW][TILE][16];
    for (int m = 0; m < M; m++)
        for (int j = 0; j < N; j++) acc[m][j] = _mm512_setzero_ps();
    for (int first = 0; first < groups; first += 16) {
        const int last = groups - first < 16 ? groups - first : 16;
        const __mmask16 there = (__mmask16)((1u << last) - 1);
        for (int j = 0; j < N; j++) {
            __m256i halves = _mm256_maskz_loadu_epi16(there, w->scales + (size_t)(n + j) * groups + first);
            __m512 own = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
            for (int m = 0; m < M; m++) {
                __m512 theirs = _mm512_loadu_ps(in.scales + (size_t)(t + m) * wide + first);
                _mm512_storeu_ps(scales[m][j], _mm512_mul_ps(own, theirs));
            }
        }
        for (int g = 0; g < last; g++) {
            const int k = (first + g) * GROUP;
            if (kind == I8)
                fetch(row + N * (stride + k), N * 64);
            else
                fetch(row + N * (stride + k / 2), N * 32);
            __m512i weight[TILE];
            for (int j = 0; j < N; j++) {
                if (kind == I8) {
                    weight[j] = _mm512_xor_si512(_mm512_loadu_si512(row + j * stride + k), offset);
                } else {
                    __m256i pairs = _mm256_loadu_si256((const __m256i *)(row + j * stride + k / 2));
                    __m512i both = _mm512_srlv_epi16(_mm512_broadcast_i64x4(pairs), shifts);
                    weight[j] = _mm512_and_si512(both, low);
                }
            }
            for (int m = 0; m < M; m++) {
                __m512i x = _mm512_loadu_si512(bytes_of_group(in, first + g, t + m));
                __m512i start = _mm512_loadu_si512(quad_sums + (size_t)m * (cols / 4) + k / 4);
                for (int j = 0; j < N; j++) {
                    __m512 whole = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, weight[j], x));
                    acc[m][j] = _mm512_fmadd_ps(whole, _mm512_set1_ps(scales[m][j][g]), acc[m][j]);
                }
            }
        }
    }
    for (int m = 0; m < M; m++) {
        if (N == 4) {
            *(v4 *)(y + (size_t)m * ldy + n) = sum4((vf)acc[m][0], (vf)acc[m][1], (vf)acc[m][2], (vf)acc[m][3]);
        } else {
            for (int j = 0; j < N; j++) y[(size_t)m * ldy + n + j] = sum((vf)acc[m][j]);
        }
    }
}

#define INT8_TILES(kind)                                                                             \
    static void int8_tiles_##kind(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) { \
        for (; n + TILE <= end; n += TILE)                                                            \
            for (int m = 0; m < M; m += FEW) switch (M - m) {                                         \
                case 1: int8_tile(kind, 1, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;      \
                case 2: int8_tile(kind, 2, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;      \
                case 3: int8_tile(kind, 3, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;      \
                default: int8_tile(kind, 4, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;     \
                }                                                                                     \
        for (; n < end; n++)                                                                          \
            for (int m = 0; m < M; m++) int8_tile(kind, 1, 1, w, in, m, n, y + (size_t)m * ldy, ldy); \
    }

INT8_TILES(I8)
INT8_TILES(I4)

enum { AT_A_TIME = 8 };

/* y[M][n ... n + 32]: lanes are rows of the matrix, so nothing is added up across lanes, and a product of four bytes of
 * all of them with four of a token is one instruction. Where the tokens are few, even and odd quads are summed apart,
 * which in whole numbers is the same. */
INLINE void int8_panel(const int kind, const int M, const Matrix *w, Inputs in, int t, int n, float *y, int ldy) {
    enum { MOST = 4 };
    const int cols = w->cols, groups = cols / GROUP, wide = scales_stride(cols), apart = M <= 2;
    const uint8_t *from = (const uint8_t *)w->data + (size_t)n * (kind == PANELS8 ? cols : cols / 2);
    const uint16_t *scales = w->scales + (size_t)n * groups;
    const int32_t *all = in.all + (size_t)t * wide;
    const float *theirs = in.scales + (size_t)t * wide;
    const __m512i low = _mm512_set1_epi8(15), offset = _mm512_set1_epi8((char)128);
    __m512 acc[MOST][2];
    for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = _mm512_setzero_ps();
    for (int g = 0; g < groups; g++) {
        const int8_t *bytes = bytes_of_group(in, g, t);
        __m512i even[MOST][2], odd[MOST][2];
        for (int m = 0; m < M; m++) {
            even[m][0] = even[m][1] = _mm512_set1_epi32(all[m * wide + g]);
            odd[m][0] = odd[m][1] = _mm512_setzero_si512();
        }
#pragma GCC unroll 16
        for (int q = 0; q < GROUP / 4; q++) {
            __m512i first, second;
            if (kind == PANELS8) {
                first = _mm512_xor_si512(_mm512_loadu_si512(from), offset);
                second = _mm512_xor_si512(_mm512_loadu_si512(from + 64), offset);
                from += 128;
            } else {
                __m512i pairs = _mm512_loadu_si512(from);
                first = _mm512_and_si512(pairs, low);
                second = _mm512_and_si512(_mm512_srli_epi16(pairs, 4), low);
                from += 64;
            }
            for (int m = 0; m < M; m++) {
                int32_t four;
                memcpy(&four, bytes + m * GROUP + 4 * q, 4);
                __m512i x = _mm512_set1_epi32(four);
                if (apart && q % 2) {
                    odd[m][0] = _mm512_dpbusd_epi32(odd[m][0], first, x);
                    odd[m][1] = _mm512_dpbusd_epi32(odd[m][1], second, x);
                } else {
                    even[m][0] = _mm512_dpbusd_epi32(even[m][0], first, x);
                    even[m][1] = _mm512_dpbusd_epi32(even[m][1], second, x);
                }
            }
        }
        for (int h = 0; h < 2; h++) {
            __m256i halves = _mm256_loadu_si256((const __m256i *)(scales + (size_t)g * PANEL + 16 * h));
            __m512 own = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
            for (int m = 0; m < M; m++) {
                __m512 whole = _mm512_cvtepi32_ps(apart ? _mm512_add_epi32(even[m][h], odd[m][h]) : even[m][h]);
                acc[m][h] = _mm512_fmadd_ps(whole, _mm512_mul_ps(own, _mm512_set1_ps(theirs[m * wide + g])), acc[m][h]);
            }
        }
    }
    for (int m = 0; m < M; m++)
        for (int h = 0; h < 2; h++) _mm512_storeu_ps(y + (size_t)m * ldy + n + 16 * h, acc[m][h]);
}

/* One group of `int8_panel`, weights at `from`, for M tokens whose sums so far are in y. Of the weights `ahead` bytes
 * further on, two lines are asked for with each quad if `asks`. */
INLINE void panel_group(const int kind, const int M, const int asks, const uint8_t *from, const uint16_t *scales,
                        Inputs in, int t, int cols, int g, float *y, int ldy) {
    const int wide = scales_stride(cols), bytes_of = kind == PANELS8 ? 128 : 64, ahead = 2 * bytes_of * (GROUP / 4);
    const int8_t *bytes = bytes_of_group(in, g, t);
    const __m512i low = _mm512_set1_epi8(15), offset = _mm512_set1_epi8((char)128);
    __m512i whole[AT_A_TIME][2];
    for (int m = 0; m < M; m++) whole[m][0] = whole[m][1] = _mm512_set1_epi32(in.all[(size_t)(t + m) * wide + g]);
#pragma GCC unroll 4
    for (int q = 0; q < GROUP / 4; q++) {
        __m512i first, second, weights = _mm512_loadu_si512(from + bytes_of * q);
        if (asks) fetch(from + ahead + bytes_of * q, bytes_of);
        if (kind == PANELS8) {
            first = _mm512_xor_si512(weights, offset);
            second = _mm512_xor_si512(_mm512_loadu_si512(from + bytes_of * q + 64), offset);
        } else {
            first = _mm512_and_si512(weights, low);
            second = _mm512_and_si512(_mm512_srli_epi16(weights, 4), low);
        }
        for (int m = 0; m < M; m++) {
            int32_t four;
            memcpy(&four, bytes + m * GROUP + 4 * q, 4);
            __m512i x = _mm512_set1_epi32(four);
            whole[m][0] = _mm512_dpbusd_epi32(whole[m][0], first, x);
            whole[m][1] = _mm512_dpbusd_epi32(whole[m][1], second, x);
        }
    }
    for (int h = 0; h < 2; h++) {
        __m256i halves = _mm256_loadu_si256((const __m256i *)(scales + 16 * h));
        __m512 own = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
        for (int m = 0; m < M; m++) {
            float *at = y + (size_t)m * ldy + 16 * h;
            __m512 theirs = _mm512_set1_ps(in.scales[(size_t)(t + m) * wide + g]);
            __m512 so_far = g ? _mm512_loadu_ps(at) : _mm512_setzero_ps();
            _mm512_storeu_ps(at, _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[m][h]), _mm512_mul_ps(own, theirs), so_far));
        }
    }
}

/* The same sums as `int8_panel` for many tokens: all of them meet a group of the weights before the next one, which is
 * on its way from memory meanwhile. */
INLINE void many_panel(const int kind, int M, const Matrix *w, Inputs in, int n, float *y, int ldy) {
    const int cols = w->cols, groups = cols / GROUP, bytes_of = GROUP * PANEL / (kind == PANELS8 ? 1 : 2);
    const uint8_t *from = (const uint8_t *)w->data + (size_t)n * (kind == PANELS8 ? cols : cols / 2);
    const uint16_t *scales = w->scales + (size_t)n * groups;
    for (int g = 0; g < groups; g++, from += bytes_of, scales += PANEL) {
        int m = 0;
        for (; m + AT_A_TIME <= M; m += AT_A_TIME)
            panel_group(kind, AT_A_TIME, m == 0, from, scales, in, m, cols, g, y + (size_t)m * ldy + n, ldy);
        for (; m + 4 <= M; m += 4)
            panel_group(kind, 4, m == 0, from, scales, in, m, cols, g, y + (size_t)m * ldy + n, ldy);
        for (; m < M; m++) panel_group(kind, 1, m == 0, from, scales, in, m, cols, g, y + (size_t)m * ldy + n, ldy);
    }
}

#define PANELS_OF(kind)                                                                               \
    static void panels_##kind(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) { \
        for (; n < end; n += PANEL) switch (M) {                                                      \
            case 1: int8_panel(kind, 1, w, in, 0, n, y, ldy); break;                                 \
            case 2: int8_panel(kind, 2, w, in, 0, n, y, ldy); break;                                 \
            case 3: int8_panel(kind, 3, w, in, 0, n, y, ldy); break;                                 \
            case 4: int8_panel(kind, 4, w, in, 0, n, y, ldy); break;                                 \
            default: many_panel(kind, M, w, in, n, y, ldy);                                           \
            }                                                                                         \
    }

PANELS_OF(PANELS8)
PANELS_OF(PANELS4)

static void int8_tiles(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) {
    switch (w->kind) {
    case PANELS8: panels_PANELS8(M, w, in, n, end, y, ldy); break;
    case PANELS4: panels_PANELS4(M, w, in, n, end, y, ldy); break;
    case I8: int8_tiles_I8(M, w, in, n, end, y, ldy); break;
    default: int8_tiles_I4(M, w, in, n, end, y, ldy);
    }
}

#else
#define HAS_INT8_DOT 0

INLINE int is_int8_dot(const Matrix *w) {
    (void)w;
    return 0;
}

static void quantize_inputs(const float *x, const Matrix *w, int t, Inputs in) { (void)x, (void)w, (void)t, (void)in; }

static void int8_tiles(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) {
    (void)M, (void)w, (void)in, (void)n, (void)end, (void)y, (void)ldy;
}
#endif

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
    float made[AT_ONCE][CHUNK];
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
