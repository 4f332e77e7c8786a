/* The LSTM between a codec's convolutions. kernels.c includes this file after codec.c.
 *
 * A frame needs the whole recurrent matrix, so a clip takes as long as reading it from the cache so often. It is packed
 * once: in the order in which it is read, and as integers of 24 bits with a scale for each row, where unpacking them takes
 * two or three instructions. A float32 as large as the largest of its row has 24 bits too. */

#pragma once

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "pool.h"
#include "products.h"
#include "structs.h"
#include "vectors.h"

enum { UNITS = 32, SLICE = 256, SMALL = 48, GATES = 4 * UNITS };

/* ---------------------------------------------------------------- the recurrent matrix */

/* The gates' weights of UNITS units are columns side by side; ABREAST of them are read from one end of the state to the
 * other: [width / UNITS][GATES / ABREAST][width][ABREAST], of WEIGHT bytes each. The scales follow, [width / UNITS][GATES],
 * and SLACK bytes that loads may touch. */
#define ABREAST (8 * VL)
#if defined(__AVX2__) && VL >= 8
#define WEIGHT 3
#else
#define WEIGHT 4
#endif
enum { SLACK = 64, MOST_24 = 0x7fffff, DIRECT = VL == 16 ? 3 : 1 };

INLINE size_t back_bytes(int width) { return (size_t)4 * width * width * WEIGHT; }

INLINE float *back_scales(const void *back, int width) { return (float *)((uint8_t *)back + back_bytes(width)); }

/* What the largest weight of a row is a multiple of; no number, if one of them is none. */
static float row_scale(const float *row, int width) {
    float most = 0.0f, none = 0.0f;
    for (int k = 0; k < width; k++) {
        if (fabsf(row[k]) > most) most = fabsf(row[k]);
        none += row[k] * 0.0f;
    }
    return WEIGHT == 3 ? most / MOST_24 + none : 1.0f;
}

INLINE void pack_weight(uint8_t *to, float x, float scale) {
    if (WEIGHT == 4) {
        memcpy(to, &x, 4);
        return;
    }
    const double multiple = scale > 0.0f && scale <= 3e38f ? x / (double)scale : 0.0;
    const int32_t whole = (int32_t)lrint(multiple > MOST_24 ? MOST_24 : multiple < -MOST_24 ? -MOST_24 : multiple);
    to[0] = whole & 255, to[1] = whole >> 8 & 255, to[2] = whole >> 16 & 255;
}

/* Bytes; 0 for a state that is too wide. */
int ac_lstm_room(int32_t width) { return is_within(width, 1, WIDEST_LSTM) ? (int)back_bytes(width) + 16 * width + SLACK : 0; }

INLINE const float *gate_row(const float *w_back, int width, int first, int i) {
    return w_back + ((size_t)(i / UNITS) * width + first + i % UNITS) * width;
}

/* w_back [4 * width, width] as it is read; `to` has ac_lstm_room(width) bytes. */
int ac_lstm_pack(int32_t width, const float *w_back, uint8_t *to) {
    if (!w_back || !to || !is_within(width, 1, WIDEST_LSTM) || width % UNITS) return BAD_LSTM;
    float *scale = back_scales(to, width);
    for (int first = 0; first < width; first += UNITS, scale += GATES) {
        for (int i = 0; i < GATES; i++) scale[i] = row_scale(gate_row(w_back, width, first, i), width);
        for (int part = 0; part < GATES; part += ABREAST)
            for (int k = 0; k < width; k++)
                for (int i = part; i < part + ABREAST; i++, to += WEIGHT)
                    pack_weight(to, gate_row(w_back, width, first, i)[k], scale[i]);
        for (int i = 0; i < GATES && WEIGHT == 3; i++) scale[i] /= 256.0f; /* integers are loaded in the upper bytes */
    }
    memset(scale, 0, SLACK);
    return OK;
}

/* VL weights before they are scaled; what follows them is read too. */
INLINE vf load_back(const uint8_t *p) {
#if WEIGHT == 3 && VL == 16
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0);
    const __m512i bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11));
    return from_int((vi)_mm512_shuffle_epi8(_mm512_permutexvar_epi32(lanes, _mm512_loadu_si512(p)), bytes));
#elif WEIGHT == 3
    const __m256i bytes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11));
    const __m128i low = _mm_loadu_si128((const __m128i *)p), high = _mm_loadu_si128((const __m128i *)(p + 12));
    return from_int((vi)_mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), bytes));
#else
    return load((const float *)p);
#endif
}

/* Ask for what is read 16 columns later: a processor whose second cache cannot hold the matrix, and whose own read-ahead
 * does not fetch enough of it from the last one. It may lie beyond the end, which asking for does not mind. */
INLINE void read_ahead(const uint8_t *w) {
#if defined(__AVX2__) && VL == 8
    for (int i = 0; i < ABREAST * WEIGHT; i += 64) __builtin_prefetch(w + 16 * ABREAST * WEIGHT + i);
#else
    (void)w;
#endif
}

/* made[M][GATES] = x[M] . the weights of UNITS units, not yet scaled; M is a constant where this is inlined. */
#define BACK(NAME, LOAD, ATTRIBUTE)                                                                       \
    ATTRIBUTE static inline __attribute__((always_inline)) void NAME##_rows(                              \
        const int M, const uint8_t *w, const float *x, int width, float *made) {                          \
        for (int part = 0; part < GATES; part += ABREAST) {                                                  \
            vf acc[DIRECT][8] = {{{0}}};                                                                  \
            for (int k = 0; k < width; k++, w += ABREAST * WEIGHT) {                                         \
                read_ahead(w);                                                                            \
                for (int j = 0; j < 8; j++) {                                                             \
                    vf value = LOAD(w + j * VL * WEIGHT);                                                 \
                    for (int m = 0; m < M; m++)                                                           \
                        acc[m][j] = fma_(splat(x[(size_t)m * width + k]), value, acc[m][j]);              \
                }                                                                                         \
            }                                                                                             \
            for (int m = 0; m < M; m++)                                                                   \
                for (int j = 0; j < 8; j++) store(made + m * GATES + part + j * VL, acc[m][j]);           \
        }                                                                                                 \
    }                                                                                                     \
    ATTRIBUTE static void NAME(int M, const uint8_t *w, const float *x, int width, float *made) {         \
        for (; M >= DIRECT; M -= DIRECT, x += (size_t)DIRECT * width, made += DIRECT * GATES)             \
            NAME##_rows(DIRECT, w, x, width, made);                                                       \
        for (; M > 0; M--, x += width, made += GATES) NAME##_rows(1, w, x, width, made);                  \
    }

BACK(back, load_back, )

#if WEIGHT == 3 && VL == 16
#include <cpuid.h>

/* The same in one instruction, which some processors of this level have. */
__attribute__((target("avx512vbmi"))) INLINE vf load_back_at_once(const uint8_t *p) {
    const __m512i bytes = _mm512_set_epi8(47, 46, 45, 0, 44, 43, 42, 0, 41, 40, 39, 0, 38, 37, 36, 0, 35, 34, 33, 0, 32, 31,
                                          30, 0, 29, 28, 27, 0, 26, 25, 24, 0, 23, 22, 21, 0, 20, 19, 18, 0, 17, 16, 15, 0,
                                          14, 13, 12, 0, 11, 10, 9, 0, 8, 7, 6, 0, 5, 4, 3, 0, 2, 1, 0, 0);
    return from_int((vi)_mm512_maskz_permutexvar_epi8(0xeeeeeeeeeeeeeeee, bytes, _mm512_loadu_si512(p)));
}

BACK(back_at_once, load_back_at_once, __attribute__((target("avx512vbmi"))))

static int permutes_bytes(void) {
    static _Atomic int known; /* 1: no, 2: yes */
    unsigned a, b, c = 0, d;
    if (!known) known = 1 + (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (c >> 1 & 1));
    return known == 2;
}
#endif

/* ---------------------------------------------------------------- steps */

typedef struct {
    const Lstm *lstm;
    const float *x, *before;
    float *gates, *cell, *after, *packed;
    int64_t rows;
    size_t room; /* of each thread's part of `packed` */
    int turned;
} LstmStep;

/* 4 x 4 numbers, columns to rows. */
INLINE void turn_4(const float *from, int64_t ld, float *to, int64_t ld_to) {
#if defined(__SSE__)
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + ld), c = _mm_loadu_ps(from + 2 * ld);
    __m128 d = _mm_loadu_ps(from + 3 * ld);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a), _mm_storeu_ps(to + ld_to, b), _mm_storeu_ps(to + 2 * ld_to, c);
    _mm_storeu_ps(to + 3 * ld_to, d);
#else
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) to[j * ld_to + i] = from[i * ld + j];
#endif
}

/* NR columns of the inputs' part of the gates; for many rows the weights are turned into a panel on the way. */
static void inputs_task(void *job, int task, int thread) {
    const LstmStep *f = job;
    const int in = f->lstm->input, n = task * NR, wide = 4 * f->lstm->width;
    const float *weight = f->lstm->w_in + (size_t)n * in, *bias = f->lstm->bias + n;
    if (f->rows <= SMALL) {
        const Matrix part = {.kind = F32, .rows = NR, .cols = in, .data = weight};
        for (int64_t r = 0; r < f->rows; r += MANY) {
            float *gates = f->gates + r * wide + n;
            const int M = f->rows - r < MANY ? (int)(f->rows - r) : MANY;
            tile_near(M, &part, NR, f->x + r * in, in, gates, wide);
            for (int m = 0; m < M; m++)
                for (int i = 0; i < NR; i += VL) store(gates + m * wide + i, load(gates + m * wide + i) + load(bias + i));
        }
        return;
    }
    const Step step = {.taps = 1, .inner = in};
    float *packed = f->packed + (size_t)thread * f->room;
    for (int j = 0; j < NR; j += 4)
        for (int k = 0; k < in; k += 4) turn_4(weight + (size_t)j * in + k, in, packed + (size_t)k * NR + j, NR);
    panel(&step, f->x, in, 0, f->rows, packed, bias, (Out){.raw = f->gates + n, .ld = wide}, NR);
}

/* The recurrent part of the gates of UNITS units, for up to SMALL rows; for many rows the weights are unpacked first. */
static void back_part(const LstmStep *f, int task, int thread, int64_t first, int rows, float *made) {
    const int width = f->lstm->width;
    const uint8_t *w = (const uint8_t *)f->lstm->back + (size_t)task * GATES * width * WEIGHT;
    const float *x = f->before + first * width, zeros[NR] = {0};
    if (rows <= 2 * DIRECT) {
#if WEIGHT == 3 && VL == 16
        if (permutes_bytes()) {
            back_at_once(rows, w, x, width, made);
            return;
        }
#endif
        back(rows, w, x, width, made);
        return;
    }
    const Step step = {.taps = 1, .inner = width};
    float *packed = f->packed + (size_t)thread * f->room;
    for (int n = 0; n < GATES; n += NR) {
        const uint8_t *from = w + ((size_t)(n / ABREAST) * width * ABREAST + n % ABREAST) * WEIGHT;
        for (int k = 0; k < width; k++, from += ABREAST * WEIGHT)
            for (int i = 0; i < NR; i += VL) store(packed + (size_t)k * NR + i, load_back(from + i * WEIGHT));
        panel(&step, x, width, 0, rows, packed, zeros, (Out){.raw = made + n, .ld = GATES}, NR);
    }
}

/* UNITS of the state, for all rows. Every other frame goes through them the other way: the last weights of the frame
 * before are still near. */
static void units_task(void *job, int task, int thread) {
    const LstmStep *f = job;
    const int width = f->lstm->width;
    const vf one = splat(1.0f), two = splat(2.0f);
    if (f->turned) task = width / UNITS - 1 - task;
    const int first = task * UNITS;
    const float *scale = back_scales(f->lstm->back, width) + task * GATES;
    for (int64_t r = 0; r < f->rows; r += SMALL) {
        const int M = f->rows - r < SMALL ? (int)(f->rows - r) : SMALL;
        float made[SMALL * GATES];
        back_part(f, task, thread, r, M, made);
        for (int m = 0; m < M; m++)
            for (int i = 0; i < UNITS; i += VL) {
                const float *now = f->gates + (r + m) * 4 * width + first + i, *back = made + m * GATES + i;
                const int64_t at = (r + m) * width + first + i;
                vf in = fma_(load(scale + i), load(back), load(now));
                vf forget = fma_(load(scale + UNITS + i), load(back + UNITS), load(now + width));
                vf fresh = fma_(load(scale + 2 * UNITS + i), load(back + 2 * UNITS), load(now + 2 * width));
                vf gate = fma_(load(scale + 3 * UNITS + i), load(back + 3 * UNITS), load(now + 3 * width));
                vf keep = one / (one + exp_(-forget)), take = one / (one + exp_(-in));
                vf offer = one - two / (one + exp_(two * fresh)), show = one / (one + exp_(-gate));
                vf c = fma_(keep, load(f->cell + at), take * offer);
                store(f->cell + at, c);
                store(f->after + at, show * (one - two / (one + exp_(two * c))));
            }
    }
}

/* One layer over x [steps, rows, in] -> out [steps, rows, width]; hidden and cell [rows, width] go on from where they
 * are. */
int ac_lstm(const Lstm *lstm, const float *x, float *hidden, float *cell, float *out, int32_t steps, int32_t rows,
            int32_t threads) {
    if (!lstm || !is_lstm(lstm, UNITS)) return BAD_LSTM;
    if (!x || !hidden || !cell || !out || threads < 1 || steps < 0 || !is_within(rows, 1, 1 << 20)) return BAD_CALL;
    const int width = lstm->width;
    const int slice = steps < SLICE ? steps : SLICE;
    const size_t frame = (size_t)rows * width;
    threads = open_pool(threads);
    const size_t room = (size_t)(width > lstm->input ? width : lstm->input) * NR;
    float *gates = scratch_floats(4 * frame * slice + threads * room);
    if (!gates) {
        close_pool(threads);
        return NO_MEMORY;
    }
    float *packed = gates + 4 * frame * slice;
    const float *before = hidden;
    for (int32_t t = 0; t < steps; t++) {
        if (t % slice == 0) {
            int64_t count = (int64_t)(steps - t < slice ? steps - t : slice) * rows;
            LstmStep f = {.lstm = lstm, .x = x + (size_t)t * rows * lstm->input, .gates = gates,
                          .packed = packed, .rows = count, .room = room};
            parallel(threads, 4 * width / NR, inputs_task, &f);
        }
        LstmStep f = {.lstm = lstm, .before = before, .gates = gates + 4 * frame * (t % slice), .cell = cell,
                      .after = out + frame * t, .packed = packed, .rows = rows, .room = room, .turned = t & 1};
        parallel(threads, width / UNITS, units_task, &f);
        before = f.after;
    }
    if (steps) memcpy(hidden, before, frame * sizeof(float));
    close_pool(threads);
    free(gates);
    return OK;
}
