/* The AVX-512 instructions that the kernels use, in plain C on top of AVX2, so that the code of these levels runs, and runs
 * under sanitizers, on processors and emulators that have none. Included before anything else with -include. */

#pragma once

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define __AVX512F__ 1
#ifdef EMULATE_VNNI
#define __AVX512VNNI__ 1
#endif

typedef float f16x __attribute__((vector_size(64)));
typedef int32_t i16x __attribute__((vector_size(64)));
typedef uint32_t u16x __attribute__((vector_size(64)));
typedef int8_t b64x __attribute__((vector_size(64)));
typedef uint16_t h32x __attribute__((vector_size(64)));
typedef int16_t s32x __attribute__((vector_size(64)));

#define EMULATED static inline
#define EACH for (int i = 0; i < 16; i++)

EMULATED __m512i e_setzero_si512(void) { return (__m512i)(i16x){0}; }
EMULATED __m512 e_setr_ps(float a, float b, float c, float d, float e, float f, float g, float h, float i, float j, float k,
                          float l, float m, float n, float o, float p) {
    return (__m512)(f16x){a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
}
EMULATED __m512 e_fmadd_ps(__m512 a, __m512 b, __m512 c) {
    f16x v;
    EACH v[i] = __builtin_fmaf(((f16x)a)[i], ((f16x)b)[i], ((f16x)c)[i]);
    return (__m512)v;
}
EMULATED __m512 e_max_ps(__m512 a, __m512 b) {
    f16x v;
    EACH v[i] = ((f16x)a)[i] > ((f16x)b)[i] ? ((f16x)a)[i] : ((f16x)b)[i];
    return (__m512)v;
}
EMULATED __m512 e_min_ps(__m512 a, __m512 b) {
    f16x v;
    EACH v[i] = ((f16x)a)[i] < ((f16x)b)[i] ? ((f16x)a)[i] : ((f16x)b)[i];
    return (__m512)v;
}
EMULATED __m512 e_cvtepi32_ps(__m512i a) { return (__m512)__builtin_convertvector((i16x)a, f16x); }
EMULATED __m512i e_cvtps_epi32(__m512 a) {
    i16x v;
    EACH v[i] = (int32_t)lrintf(((f16x)a)[i]);
    return (__m512i)v;
}
EMULATED __m512i e_cvtepi8_epi32(__m128i a) {
    int8_t from[16];
    i16x v;
    memcpy(from, &a, 16);
    EACH v[i] = from[i];
    return (__m512i)v;
}
EMULATED __m512i e_cvtepu8_epi32(__m128i a) {
    uint8_t from[16];
    i16x v;
    memcpy(from, &a, 16);
    EACH v[i] = from[i];
    return (__m512i)v;
}
EMULATED __m512i e_cvtepu16_epi32(__m256i a) {
    uint16_t from[16];
    i16x v;
    memcpy(from, &a, 32);
    EACH v[i] = from[i];
    return (__m512i)v;
}
EMULATED __m256 e_half(__m512 a, int which) {
    __m256 part;
    memcpy(&part, (const char *)&a + 32 * which, 32);
    return part;
}
EMULATED __m512 e_joined(__m256 low, __m256 high) {
    f16x v;
    memcpy(&v, &low, 32), memcpy((char *)&v + 32, &high, 32);
    return (__m512)v;
}
EMULATED __m512 e_cvtph_ps(__m256i a) {
    return e_joined(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
}
EMULATED __m256i e_cvtps_ph(__m512 a) {
    return _mm256_set_m128i(_mm256_cvtps_ph(e_half(a, 1), 0), _mm256_cvtps_ph(e_half(a, 0), 0));
}
EMULATED __m512 e_permutexvar_ps(__m512i index, __m512 table) {
    f16x v;
    EACH v[i] = ((f16x)table)[((i16x)index)[i] & 15];
    return (__m512)v;
}
EMULATED __m512i e_slli_epi32(__m512i a, unsigned by) { return (__m512i)((u16x)a << by); }
EMULATED __m512i e_srlv_epi16(__m512i a, __m512i by) { return (__m512i)((h32x)a >> (h32x)by); }
EMULATED __m512i e_broadcast_i64x4(__m256i a) { return (__m512i)e_joined((__m256)a, (__m256)a); }
EMULATED __m512i e_inserti64x4(__m512i a, __m256i b, int which) {
    return (__m512i)(which ? e_joined(e_half((__m512)a, 0), (__m256)b) : e_joined((__m256)b, e_half((__m512)a, 1)));
}
EMULATED __m512i e_set1_epi16(short a) { return (__m512i)(a - (s32x){0}); }
EMULATED __m512i e_abs_epi8(__m512i a) {
    b64x v = (b64x)a;
    for (int i = 0; i < 64; i++) v[i] = (int8_t)(v[i] < 0 ? -v[i] : v[i]);
    return (__m512i)v;
}
EMULATED __mmask64 e_movepi8_mask(__m512i a) {
    __mmask64 mask = 0;
    for (int i = 0; i < 64; i++) mask |= (__mmask64)(((b64x)a)[i] < 0) << i;
    return mask;
}
EMULATED __m512i e_mask_sub_epi8(__m512i from, __mmask64 mask, __m512i a, __m512i b) {
    b64x v = (b64x)from;
    for (int i = 0; i < 64; i++)
        if (mask >> i & 1) v[i] = (int8_t)(((b64x)a)[i] - ((b64x)b)[i]);
    return (__m512i)v;
}
EMULATED __m512i e_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l, int m, int n,
                              int o, int p) {
    return (__m512i)(i16x){a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p};
}
EMULATED __m512i e_loadu_si512(const void *p) {
    i16x v;
    memcpy(&v, p, 64);
    return (__m512i)v;
}
EMULATED __m512i e_broadcast_i32x4(__m128i a) {
    i16x v;
    for (int i = 0; i < 64; i += 16) memcpy((char *)&v + i, &a, 16);
    return (__m512i)v;
}
EMULATED __m512i e_permutexvar_epi32(__m512i index, __m512i a) {
    i16x v;
    EACH v[i] = ((i16x)a)[((i16x)index)[i] & 15];
    return (__m512i)v;
}
EMULATED __m512i e_shuffle_epi8(__m512i a, __m512i index) { /* within each 16 bytes */
    uint8_t from[64], by[64], made[64];
    memcpy(from, &a, 64), memcpy(by, &index, 64);
    for (int i = 0; i < 64; i++) made[i] = by[i] & 128 ? 0 : from[(i & 48) + (by[i] & 15)];
    return e_loadu_si512(made);
}
EMULATED __m512i e_madd_epi16(__m512i a, __m512i b) {
    i16x v;
    EACH v[i] = ((s32x)a)[2 * i] * ((s32x)b)[2 * i] + ((s32x)a)[2 * i + 1] * ((s32x)b)[2 * i + 1];
    return (__m512i)v;
}
EMULATED __m512i e_maddubs_epi16(__m512i a, __m512i b) {
    uint8_t from[64];
    int8_t by[64];
    s32x v;
    memcpy(from, &a, 64), memcpy(by, &b, 64);
    for (int i = 0; i < 32; i++) {
        int sum = from[2 * i] * by[2 * i] + from[2 * i + 1] * by[2 * i + 1];
        v[i] = (int16_t)(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
    }
    return (__m512i)v;
}
/* sums[i] + four bytes of a, unsigned, times four of b, signed: what VNNI is about. */
EMULATED __m512i e_dpbusd_epi32(__m512i sums, __m512i a, __m512i b) {
    uint8_t from[64];
    int8_t by[64];
    i16x v = (i16x)sums;
    memcpy(from, &a, 64), memcpy(by, &b, 64);
    for (int i = 0; i < 64; i++) v[i / 4] = (int32_t)((uint32_t)v[i / 4] + (uint32_t)(from[i] * by[i]));
    return (__m512i)v;
}

#define _mm512_setzero_si512 e_setzero_si512
#undef _mm512_setr_ps
#define _mm512_setr_ps e_setr_ps
#define _mm512_fmadd_ps e_fmadd_ps
#define _mm512_max_ps e_max_ps
#define _mm512_min_ps e_min_ps
#define _mm512_loadu_si512 e_loadu_si512
#define _mm512_broadcast_i32x4 e_broadcast_i32x4
#define _mm512_permutexvar_epi32 e_permutexvar_epi32
#define _mm512_shuffle_epi8 e_shuffle_epi8
#define _mm512_cvtepi32_ps e_cvtepi32_ps
#define _mm512_cvtps_epi32 e_cvtps_epi32
#define _mm512_cvtepi8_epi32 e_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 e_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 e_cvtepu16_epi32
#define _mm512_cvtph_ps e_cvtph_ps
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(a, rounding) e_cvtps_ph(a)
#define _mm512_permutexvar_ps e_permutexvar_ps
#undef _mm512_slli_epi32
#define _mm512_slli_epi32 e_slli_epi32
#define _mm512_srlv_epi16 e_srlv_epi16
#define _mm512_broadcast_i64x4 e_broadcast_i64x4
#undef _mm512_inserti64x4
#define _mm512_inserti64x4 e_inserti64x4
#define _mm512_set1_epi16 e_set1_epi16
#define _mm512_abs_epi8 e_abs_epi8
#define _mm512_movepi8_mask e_movepi8_mask
#define _mm512_mask_sub_epi8 e_mask_sub_epi8
#undef _mm512_setr_epi32
#define _mm512_setr_epi32 e_setr_epi32
#define _mm512_madd_epi16 e_madd_epi16
#define _mm512_maddubs_epi16 e_maddubs_epi16
#define _mm512_dpbusd_epi32 e_dpbusd_epi32
#define _mm512_castps512_ps256(v) e_half(v, 0)
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(v, which) e_half(v, which)
