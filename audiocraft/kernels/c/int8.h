/* Products of bytes: 8- and 4-bit weights are not turned into floats. The inputs are rounded to 8 bits, in groups of
 * GROUP with a scale each; everything inside a group is exact, and groups are added up in float32, in order. So a level
 * that has these products has the same results, to the bit, whatever instructions it has for them:
 *
 * DOT_UNSIGNED  one for four products of an unsigned with a signed byte: AVX-512 VNNI, AVX-VNNI; many tokens meet panels
 *               by tiles where the processor has AMX (tiles.h)
 * DOT_SIGNED    one for four products of signed bytes: dot products of aarch64
 * DOT_PAIRS     one for two products of an unsigned with a signed byte, in 16 bits: AVX-512, AVX2
 *
 * Levels with none of them multiply in float32. */

#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "structs.h"
#include "vectors.h"

/* Rows of a matrix at a time, and tokens that pass while it is read once. */
enum { TILE = 4 };
#define FEW 4

#if defined(__AVX512VNNI__) && VL == 16
#define DOT_UNSIGNED 1
#elif defined(__AVXVNNI__) && VL == 8
#define DOT_UNSIGNED 1
#elif defined(__ARM_FEATURE_DOTPROD)
#define DOT_SIGNED 1
#elif defined(__AVX512F__) || defined(__AVX2__)
#define DOT_PAIRS 1
#endif

#if DOT_UNSIGNED || DOT_SIGNED || DOT_PAIRS
#define HAS_INT8_DOT 1
#else
#define HAS_INT8_DOT 0
#endif

INLINE size_t row_bytes(int kind, int cols) {
    const size_t count = (size_t)cols;
    return kind == F32 ? 4 * count : kind == I8 ? count : kind == I4 ? count / 2 : 2 * count;
}

/* Ask for the cache lines of `count` bytes; the processor alone does not see where the next rows are. */
INLINE void fetch(const void *at, int count) {
    for (int i = 0; i < count; i += 64) __builtin_prefetch((const uint8_t *)at + i);
}

/* Rounded inputs. Those of a group lie together for all tokens: far apart, they would crowd each other out of the first
 * cache. Stored weights are too large by 128 or 8, as `offset_of` says; what that adds is taken away with `quads`, of
 * four neighbours, or `all`, of a whole group: with DOT_PAIRS, two 16-bit numbers, of the first and the last two of all
 * fours. */
typedef struct {
    int tokens;
    int8_t *bytes; /* [groups, tokens, GROUP] */
    int32_t *quads, *all;
    float *scales;
} Inputs;

INLINE int scales_stride(int cols) { return (cols / GROUP + 15) / 16 * 16; }

/* Room for one token, in floats: two halves of its columns' size, and two numbers a group, in whole cache lines. */
INLINE size_t inputs_size(size_t cols) { return cols / 2 + 2 * ((cols / GROUP + 15) / 16 * 16); }

#if HAS_INT8_DOT

INLINE int is_int8_dot(const Matrix *w) { return w->kind >= I8; }

INLINE int is_eight_bits(int kind) { return kind == I8 || kind == PANELS8; }

/* The power of two by which weights are too large as they are multiplied; -1 if they are not. */
INLINE int offset_of(int kind) {
#if DOT_UNSIGNED
    return is_eight_bits(kind) ? 7 : 3;
#else
    return is_eight_bits(kind) ? -1 : 3;
#endif
}

INLINE Inputs place_inputs(float *room, int tokens, int cols) {
    float *quads = room + (size_t)tokens * (cols / 4), *scales = quads + (size_t)tokens * (cols / 4);
    float *all = scales + (size_t)tokens * scales_stride(cols);
    return (Inputs){tokens, (int8_t *)room, (int32_t *)quads, (int32_t *)all, scales};
}

INLINE int8_t *bytes_of_group(Inputs in, int g, int t) { return in.bytes + ((size_t)g * in.tokens + t) * GROUP; }

/* ---------------------------------------------------------------- the instructions */

#if DOT_PAIRS

/* Products of unsigned and signed bytes, two neighbours added up in 16 bits. */
INLINE vs pairs_of_8(vi a, vi b) {
#if VL == 16
    return (vs)_mm512_maddubs_epi16((__m512i)a, (__m512i)b);
#else
    return (vs)_mm256_maddubs_epi16((__m256i)a, (__m256i)b);
#endif
}

/* Of 16-bit numbers, two neighbours added up. */
INLINE vi wide_sums(vs a) {
#if VL == 16
    return (vi)_mm512_madd_epi16((__m512i)a, _mm512_set1_epi16(1));
#else
    return (vi)_mm256_madd_epi16((__m256i)a, _mm256_set1_epi16(1));
#endif
}

/* 8-bit weights in two parts, so that 16 bits hold two products: 2 * 128 * 127 is less than 2^15. */
#if VL == 16
typedef struct { vi size; __mmask64 negative; } Weights8;
INLINE Weights8 load_weights(const void *p) {
    const __m512i w = (__m512i)load_bytes(p);
    return (Weights8){(vi)_mm512_abs_epi8(w), _mm512_movepi8_mask(w)};
}
#else
typedef struct { vi size, whole; } Weights8;
INLINE Weights8 load_weights(const void *p) {
    const __m256i w = (__m256i)load_bytes(p);
    return (Weights8){(vi)_mm256_abs_epi8(w), (vi)w};
}
#endif

/* sums + the products of four bytes of each lane. */
INLINE vi dot(vi sums, Weights8 weights, vi x) {
#if VL == 16
    const __m512i in = (__m512i)x;
    const vi turned = (vi)_mm512_mask_sub_epi8(in, weights.negative, _mm512_setzero_si512(), in);
#else
    const vi turned = (vi)_mm256_sign_epi8((__m256i)x, (__m256i)weights.whole);
#endif
    return sums + wide_sums(pairs_of_8(weights.size, turned));
}

#else

/* sums + the products of four bytes of each lane. */
INLINE vi dot(vi sums, vi weights, vi x) {
#if DOT_SIGNED
    int32x4_t s[2];
    int8x16_t w[2], in[2];
    memcpy(s, &sums, sizeof s), memcpy(w, &weights, sizeof w), memcpy(in, &x, sizeof in);
    for (int i = 0; i < 2; i++) s[i] = vdotq_s32(s[i], w[i], in[i]);
    memcpy(&sums, s, sizeof s);
    return sums;
#elif VL == 16
    return (vi)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)weights, (__m512i)x);
#else
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)weights, (__m256i)x);
#endif
}

/* 8-bit weights as `dot` takes them. */
INLINE vi load_weights(const void *p) {
#if DOT_UNSIGNED
    return load_bytes(p) ^ splat_int((int32_t)0x80808080);
#else
    return load_bytes(p);
#endif
}

#endif

INLINE vi low_halves(vi pairs) { return pairs & splat_int(0x0f0f0f0f); }
INLINE vi high_halves(vi pairs) { return (pairs >> 4) & splat_int(0x0f0f0f0f); }

/* ---------------------------------------------------------------- inputs */

#if DOT_PAIRS
/* -8 times the sums of the first and of the last two of all fours in a group, at most 8 * 32 * 127: 16 bits each. */
INLINE int32_t halves_of_fours(const int8_t *bytes) {
    vs sums = {0};
    __m256i part[VL / 8];
    for (int i = 0; i < GROUP; i += 4 * VL) sums += pairs_of_8(splat_int(0x08080808), load_bytes(bytes + i));
    memcpy(part, &sums, sizeof part);
    if (VL == 16) part[0] = _mm256_add_epi16(part[0], part[VL / 8 - 1]);
    __m128i all = _mm_add_epi16(_mm256_castsi256_si128(part[0]), _mm256_extracti128_si256(part[0], 1));
    all = _mm_add_epi16(all, _mm_srli_si128(all, 8));
    all = _mm_add_epi16(all, _mm_srli_si128(all, 4));
    return _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), all));
}
#endif

/* Round token t, x[cols]. */
static void quantize_inputs(const float *x, const Matrix *w, int t, Inputs in) {
    const int kind = w->kind, cols = w->cols, shift = offset_of(kind);
    float *scales = in.scales + (size_t)t * scales_stride(cols);
    int32_t *all = in.all + (size_t)t * scales_stride(cols);
    for (int k = 0, g = 0; k < cols; k += GROUP, g++) {
        int8_t *bytes = bytes_of_group(in, g, t);
        vf most = {0};
#if !DOT_PAIRS
        vi total = {0};
#endif
        for (int i = 0; i < GROUP; i += VL) most = larger(most, magnitude(load(x + k + i)));
        const float top = largest(most);
        const vf back = splat(top > 0.0f ? 127.0f / top : 0.0f);
        scales[g] = top / 127.0f;
        for (int i = 0; i < GROUP; i += VL) {
            const vf near = load(x + k + i) * back;
#if !DOT_PAIRS
            total += to_int(near);
#endif
            store_i8(bytes + i, near);
        }
#if DOT_PAIRS
        all[g] = shift < 0 ? 0 : halves_of_fours(bytes);
#else
        all[g] = shift < 0 ? 0 : -(add_lanes(total) * (1 << shift));
        for (int i = 0; i < GROUP; i += 4 * VL) {
            vi four = dot((vi){0}, splat_int(0x01010101), load_bytes(bytes + i));
            store_int(in.quads + (size_t)t * (cols / 4) + (k + i) / 4, shift < 0 ? (vi){0} : -(four << shift));
        }
#endif
    }
}

/* ---------------------------------------------------------------- rows */

/* Vectors of 4 * VL bytes that a group of weights fills. */
enum { VECTORS = GROUP / (4 * VL) };

/* One group of 4-bit weights, a byte each. */
INLINE void load_halves(const uint8_t *row, vi *weight) {
#if VL == 16
    const __m512i shifts = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
    __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)row));
    weight[0] = low_halves((vi)_mm512_srlv_epi16(both, shifts));
#else
    weight[0] = low_halves(load_bytes(row));
    weight[VECTORS - 1] = high_halves(load_bytes(row));
#endif
}

/* The products of one group of a row with one token, added up as lanes that belong together. */
INLINE vi group_of_row(const int kind, const uint8_t *row, const int8_t *x, const int32_t *quads) {
    vi weight[VECTORS], whole = {0};
#if DOT_PAIRS
    (void)quads;
    if (kind == I8) {
        for (int i = 0; i < GROUP; i += 4 * VL) whole = dot(whole, load_weights(row + i), load_bytes(x + i));
        return whole;
    }
    vs sums = {0}, eighths = {0};
    load_halves(row, weight);
    for (int v = 0; v < VECTORS; v++) {
        sums += pairs_of_8(weight[v], load_bytes(x + 4 * VL * v));
        eighths += pairs_of_8(splat_int(0x01010101), load_bytes(x + 4 * VL * v));
    }
    return wide_sums(sums) - (wide_sums(eighths) << 3);
#else
    if (kind == I8)
        for (int v = 0; v < VECTORS; v++) weight[v] = load_weights(row + 4 * VL * v);
    else
        load_halves(row, weight);
    for (int v = 0; v < VECTORS; v++) whole += load_int(quads + VL * v);
    for (int v = 0; v < VECTORS; v++) whole = dot(whole, weight[v], load_bytes(x + 4 * VL * v));
    return whole;
#endif
}

/* y[M][n ... n + N] = x[M] . w[n ... n + N], as `tile`. M, N and the kind are constants where this is inlined. */
INLINE void int8_tile(const int kind, const int M, const int N, const Matrix *w, Inputs in, int t, int n, float *y,
                      int ldy) {
    const int cols = w->cols, groups = cols / GROUP, wide = scales_stride(cols);
    const size_t stride = row_bytes(kind, cols), step = row_bytes(kind, GROUP);
    const uint8_t *row = (const uint8_t *)w->data + stride * n;
    vf acc[FEW][TILE];
    for (int m = 0; m < M; m++)
        for (int j = 0; j < N; j++) acc[m][j] = (vf){0};
    for (int g = 0; g < groups; g++, row += step) {
        fetch(row + N * stride, N * (int)step);
        for (int m = 0; m < M; m++) {
            const float theirs = in.scales[(size_t)(t + m) * wide + g];
            const int32_t *quads = in.quads + (size_t)(t + m) * (cols / 4) + (size_t)g * (GROUP / 4);
            for (int j = 0; j < N; j++) {
                vi whole = group_of_row(kind, row + j * stride, bytes_of_group(in, g, t + m), quads);
                const float own = from_bf16(w->scales[(size_t)(n + j) * groups + g]);
                acc[m][j] = fma_(from_int(whole), splat(own * theirs), acc[m][j]);
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

#define INT8_TILES(kind)                                                                                  \
    static void int8_tiles_##kind(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) { \
        for (; n + TILE <= end; n += TILE)                                                                \
            for (int m = 0; m < M; m += FEW) switch (M - m) {                                             \
                case 1: int8_tile(kind, 1, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;           \
                case 2: int8_tile(kind, 2, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;           \
                case 3: int8_tile(kind, 3, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;           \
                default: int8_tile(kind, 4, TILE, w, in, m, n, y + (size_t)m * ldy, ldy); break;          \
                }                                                                                         \
        for (; n < end; n++)                                                                              \
            for (int m = 0; m < M; m++) int8_tile(kind, 1, 1, w, in, m, n, y + (size_t)m * ldy, ldy);     \
    }

INT8_TILES(I8)
INT8_TILES(I4)

/* ---------------------------------------------------------------- panels */

/* Lanes are rows of the matrix, so nothing is added up across lanes, and what four bytes of all of them do with four of
 * a token is one instruction or a few. A panel is computed in SIDES, two vectors of rows at a time, which is what the
 * registers hold; AT_A_TIME tokens meet a group of the weights together, where they are many. Of the SUMS of a token, the
 * first two begin with what is taken away from them, `all`: see `Inputs`. */
enum { SIDES = PANEL / (2 * VL), MOST_FEW = 4 };
#if DOT_PAIRS
enum { AT_A_TIME = 4, THEN = 2, SUMS = 2 };
#elif VL == 16
enum { AT_A_TIME = 8, THEN = 4, SUMS = 4 };
#else
enum { AT_A_TIME = 6, THEN = 2, SUMS = 4 };
#endif

/* The first row of vector h of a side. */
INLINE int row_of(const int kind, int side, int h) {
    return kind == PANELS8 ? side * 2 * VL + h * VL : side * VL + h * (PANEL / 2);
}

INLINE size_t panel_quad(const int kind) { return PANEL * (kind == PANELS8 ? 4 : 2); }

/* Keep the sums of many tokens as they are: added up in another order, they would need more registers than there are. */
INLINE void keep_sums(const int M, vi sums[][SUMS]) {
#if DOT_PAIRS && VL == 8
    for (int m = 0; m < M; m++)
        for (int i = 0; i < SUMS; i++) __asm__("" : "+x"(sums[m][i]));
#else
    (void)M, (void)sums;
#endif
}

/* Adds the products of quad q of a group. What the sums are of, `whole_sum` knows; with few tokens, even and odd quads
 * are summed apart, which in whole numbers is the same, so that one does not wait for the other. */
INLINE void add_quad(const int kind, const int M, const int apart, const uint8_t *weights, int side, const int8_t *x, int q,
                     vi sums[][SUMS]) {
    const int to = SUMS > 2 && apart && q % 2 ? 2 : 0;
    if (kind == PANELS8) {
        const uint8_t *at = weights + side * 8 * VL;
        const __typeof__(load_weights(at)) first = load_weights(at), second = load_weights(at + 4 * VL);
        for (int m = 0; m < M; m++) {
            const vi four = splat_4_bytes(x + m * GROUP + 4 * q);
            sums[m][to] = dot(sums[m][to], first, four);
            sums[m][to + 1] = dot(sums[m][to + 1], second, four);
        }
    } else {
        const vi pairs = load_bytes(weights + side * 4 * VL), first = low_halves(pairs), second = high_halves(pairs);
        for (int m = 0; m < M; m++) {
            const vi four = splat_4_bytes(x + m * GROUP + 4 * q);
#if DOT_PAIRS /* sums in 16 bits may pass their ends on the way: at last they are 16 * 2 * 8 * 127 at most */
            sums[m][0] = (vi)((vw)sums[m][0] + (vw)pairs_of_8(first, four));
            sums[m][1] = (vi)((vw)sums[m][1] + (vw)pairs_of_8(second, four));
#else
            sums[m][to] = dot(sums[m][to], first, four);
            sums[m][to + 1] = dot(sums[m][to + 1], second, four);
#endif
        }
    }
}

/* The whole sum of vector h, of what `add_quad` added up. */
INLINE vi whole_sum(const int kind, const int apart, const vi *sums, int h) {
#if DOT_PAIRS
    (void)apart;
    return kind == PANELS8 ? sums[h] : wide_sums((vs)sums[h]);
#else
    (void)kind;
    const vi zero = {0};
    return sums[h] + (apart ? sums[2 + h] : zero);
#endif
}

/* The sums of M tokens before the first quad. */
INLINE void start_sums(const int M, const int32_t *all, int wide, vi sums[][SUMS]) {
    for (int m = 0; m < M; m++)
        for (int i = 0; i < SUMS; i++) sums[m][i] = i < 2 ? splat_int(all[(size_t)m * wide]) : (vi){0};
}

/* y[M][n ... n + 32] for few tokens, whose sums stay in registers or near them from group to group. Weights are asked for
 * two groups ahead: what is computed meanwhile fills the processor, which alone would look no further. */
INLINE void int8_panel(const int kind, const int M, const Matrix *w, Inputs in, int n, float *y, int ldy) {
    const int cols = w->cols, groups = cols / GROUP, wide = scales_stride(cols), apart = M <= 2;
    const size_t quad = panel_quad(kind);
    const uint8_t *from = (const uint8_t *)w->data + (size_t)n / PANEL * quad * (cols / 4);
    const uint16_t *scales = w->scales + (size_t)n * groups;
    vf acc[FEW][SIDES][2];
    for (int m = 0; m < M; m++)
        for (int side = 0; side < SIDES; side++) acc[m][side][0] = acc[m][side][1] = (vf){0};
    for (int g = 0; g < groups; g++, from += quad * (GROUP / 4), scales += PANEL) {
        const int8_t *x = bytes_of_group(in, g, 0);
        for (int side = 0; side < SIDES; side++) {
            vi sums[FEW][SUMS];
            start_sums(M, in.all + g, wide, sums);
#pragma GCC unroll 16
            for (int q = 0; q < GROUP / 4; q++) {
                if (side == 0) fetch(from + 2 * quad * (GROUP / 4) + quad * q, (int)quad);
                add_quad(kind, M, apart, from + q * quad, side, x, q, sums);
            }
            for (int h = 0; h < 2; h++) {
                const vf own = load_bf16(scales + row_of(kind, side, h));
                for (int m = 0; m < M; m++) {
                    const vf whole = from_int(whole_sum(kind, apart, sums[m], h));
                    acc[m][side][h] = fma_(whole, own * splat(in.scales[m * wide + g]), acc[m][side][h]);
                }
            }
        }
    }
    for (int m = 0; m < M; m++)
        for (int side = 0; side < SIDES; side++)
            for (int h = 0; h < 2; h++) store(y + (size_t)m * ldy + n + row_of(kind, side, h), acc[m][side][h]);
}

/* One group of `int8_panel`, weights at `from`, for tokens t ... t + M - 1, whose sums so far are in y. Of the weights two
 * groups further on, the lines are asked for if `asks`. */
INLINE void panel_group(const int kind, const int M, const int asks, const uint8_t *from, const uint16_t *scales,
                        Inputs in, int t, int cols, int g, float *y, int ldy) {
    const int wide = scales_stride(cols);
    const size_t quad = panel_quad(kind), ahead = 2 * quad * (GROUP / 4);
    const int8_t *x = bytes_of_group(in, g, t);
    for (int side = 0; side < SIDES; side++) {
        vi sums[AT_A_TIME][SUMS];
        start_sums(M, in.all + (size_t)t * wide + g, wide, sums);
#pragma GCC unroll 8
        for (int q = 0; q < GROUP / 4; q++) {
            if (asks && side == 0) fetch(from + ahead + quad * q, (int)quad);
            add_quad(kind, M, 0, from + quad * q, side, x, q, sums);
            keep_sums(M, sums);
        }
        for (int h = 0; h < 2; h++) {
            const int row = row_of(kind, side, h);
            const vf own = load_bf16(scales + row);
            for (int m = 0; m < M; m++) {
                float *at = y + (size_t)m * ldy + row;
                const vi whole = whole_sum(kind, 0, sums[m], h);
                const vf theirs = splat(in.scales[(size_t)(t + m) * wide + g]), so_far = g ? load(at) : (vf){0};
                store(at, fma_(from_int(whole), own * theirs, so_far));
            }
        }
    }
}

/* The same sums as `int8_panel` for many tokens: all of them meet a group of the weights before the next one, which is
 * on its way from memory meanwhile. */
INLINE void many_panel(const int kind, int M, const Matrix *w, Inputs in, int n, float *y, int ldy) {
    const int cols = w->cols, groups = cols / GROUP;
    const size_t bytes_of = panel_quad(kind) * (GROUP / 4);
    const uint8_t *from = (const uint8_t *)w->data + (size_t)n / PANEL * bytes_of * groups;
    const uint16_t *scales = w->scales + (size_t)n * groups;
    for (int g = 0; g < groups; g++, from += bytes_of, scales += PANEL) {
        int m = M < AT_A_TIME ? THEN : AT_A_TIME;
        if (m == THEN) panel_group(kind, THEN, 1, from, scales, in, 0, cols, g, y + n, ldy);
        else panel_group(kind, AT_A_TIME, 1, from, scales, in, 0, cols, g, y + n, ldy);
        for (; m + AT_A_TIME <= M; m += AT_A_TIME)
            panel_group(kind, AT_A_TIME, 0, from, scales, in, m, cols, g, y + (size_t)m * ldy + n, ldy);
        for (; m + THEN <= M; m += THEN)
            panel_group(kind, THEN, 0, from, scales, in, m, cols, g, y + (size_t)m * ldy + n, ldy);
        for (; m < M; m++) panel_group(kind, 1, 0, from, scales, in, m, cols, g, y + (size_t)m * ldy + n, ldy);
    }
}

#include "tiles.h"

/* Many tokens by tiles where there are any. */
INLINE void any_panel(const int kind, int M, const Matrix *w, Inputs in, int n, float *y, int ldy) {
#if HAS_TILES
    if (M >= LEAST_TILED) {
        tiled_panel(kind, M, w, in, n, y, ldy);
        return;
    }
#endif
    many_panel(kind, M, w, in, n, y, ldy);
}

#define PANELS_OF(kind)                                                                               \
    static void panels_##kind(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) { \
        for (; n < end; n += PANEL) switch (M <= MOST_FEW ? M : 0) {                                  \
            case 1: int8_panel(kind, 1, w, in, n, y, ldy); break;                                     \
            case 2: int8_panel(kind, 2, w, in, n, y, ldy); break;                                     \
            case 3: int8_panel(kind, 3, w, in, n, y, ldy); break;                                     \
            case 4: int8_panel(kind, MOST_FEW, w, in, n, y, ldy); break;                              \
            default: any_panel(kind, M, w, in, n, y, ldy);                                            \
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

INLINE int is_int8_dot(const Matrix *w) {
    (void)w;
    return 0;
}

INLINE Inputs place_inputs(float *room, int tokens, int cols) {
    (void)room, (void)tokens, (void)cols;
    return (Inputs){0};
}

static void quantize_inputs(const float *x, const Matrix *w, int t, Inputs in) { (void)x, (void)w, (void)t, (void)in; }

static void int8_tiles(int M, const Matrix *w, Inputs in, int n, int end, float *y, int ldy) {
    (void)M, (void)w, (void)in, (void)n, (void)end, (void)y, (void)ldy;
}

#endif
