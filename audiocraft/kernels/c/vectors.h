/* Vectors of floats, as wide as the compiler's target has them: AVX-512, AVX2, NEON, or four lanes of plain C. */

#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__) || defined(__aarch64__)
#define VL 8
#else
#define VL 4
#endif

typedef float vf __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef int16_t vs __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint16_t vw __attribute__((vector_size(4 * VL), aligned(4), may_alias)); /* sums may wrap around */
typedef int32_t vx __attribute__((vector_size(4 * VL), aligned(1), may_alias));
typedef uint16_t vh __attribute__((vector_size(2 * VL), aligned(1), may_alias));
typedef int8_t vb __attribute__((vector_size(VL), aligned(1), may_alias));
typedef uint8_t vu __attribute__((vector_size(VL), aligned(1), may_alias));

INLINE vf load(const float *p) { return *(const vf *)p; }
INLINE void store(float *p, vf v) { *(vf *)p = v; }
INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vi splat_int(int32_t x) { return x - (vi){0}; }
INLINE vi load_int(const int32_t *p) { return *(const vi *)p; }
INLINE void store_int(int32_t *p, vi v) { *(vi *)p = v; }
INLINE vi load_bytes(const void *p) { return *(const vx *)p; } /* 4 * VL of them */

/* The four bytes at p again and again. */
INLINE vi splat_4_bytes(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return splat_int(four);
}

INLINE vf fma_(vf a, vf b, vf c) {
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

INLINE vf from_int(vi v) { return __builtin_convertvector(v, vf); }

INLINE vf load_i8(const int8_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#elif defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#else
    return from_int(__builtin_convertvector(*(const vb *)p, vi));
#endif
}

/* VL bytes as integers: two 4-bit weights each. */
INLINE vi load_nibbles(const uint8_t *p) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    return __builtin_convertvector(*(const vu *)p, vi);
#endif
}

/* The low four bits of each lane, 0 ... 15, as -8.0 ... 7.0. */
INLINE vf nibble(vi v) {
#if defined(__AVX512F__)
    const __m512 table = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return (vf)_mm512_permutexvar_ps((__m512i)v, table);
#else
    return from_int((v & 15) - 8);
#endif
}

INLINE float from_bf16(uint16_t half) {
    union { uint32_t bits; float value; } whole = {.bits = (uint32_t)half << 16};
    return whole.value;
}

INLINE vf load_bf16(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16);
#else
    return (vf)(__builtin_convertvector(*(const vh *)p, vi) << 16);
#endif
}

INLINE vf blend(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
INLINE vf larger(vf a, vf b) { return blend((vi)(b > a), b, a); }
INLINE vf magnitude(vf v) { return (vf)((vi)v & 0x7fffffff); }

INLINE vf load_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__) && defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else /* exact: normal numbers get another exponent, small ones also lose the bit that a float implies */
    vi bits = __builtin_convertvector(*(const vh *)p, vi), size = (bits & 0x7fff) << 13;
    vi small = (vi)((vf)(size + (113 << 23)) - splat(0x1p-14f)), infinite = size + (224 << 23);
    vf value = blend(size < (1 << 23), (vf)small, (vf)(size + (112 << 23)));
    value = blend(size >= (31 << 23), (vf)infinite, value);
    return (vf)((vi)value | (bits & 0x8000) << 16);
#endif
}

INLINE void store_f16(uint16_t *p, vf v) {
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, 0));
#elif defined(__AVX2__) && defined(__F16C__)
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, 0));
#else /* to the nearest, to even in the middle; what is too large becomes infinite */
    vi bits = (vi)v & 0x7fffffff;
    vi small = (vi)((vf)bits + splat(0.5f)) - (126 << 23); /* the addition rounds */
    vi normal = (bits - (112 << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
    vi made = (vi)blend(bits < (113 << 23), (vf)small, (vf)normal);
    vi large = (vi)blend(bits > (255 << 23), (vf)((vi){0} + 0x7e00), (vf)((vi){0} + 0x7c00));
    made = (vi)blend(bits >= (143 << 23), (vf)large, (vf)made);
    *(vh *)p = __builtin_convertvector(made | ((vi)v >> 16 & 0x8000), vh);
#endif
}

/* Numbers between -2^22 and 2^22, to the nearest whole ones, to even ones in the middle. */
INLINE vi to_int(vf v) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtps_epi32((__m512)v);
#elif defined(__AVX2__) /* a sum that rounds would become one with the product before it, which rounds once */
    return (vi)_mm256_cvtps_epi32((__m256)v);
#else
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23 rounds */
    return (vi)(v + magic) - (vi)magic;
#endif
}

/* The same, of numbers between -127 and 127, into bytes. */
INLINE void store_i8(int8_t *p, vf v) { *(vb *)p = __builtin_convertvector(to_int(v), vb); }

INLINE int32_t add_lanes(vi v) {
    int32_t part[VL], total = 0;
    store_int(part, v);
    for (int i = 0; i < VL; i++) total += part[i];
    return total;
}

typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));

/* The sums of the lanes of four vectors, each added up in the same fixed order. */
INLINE v4 sum4(vf a, vf b, vf c, vf d) {
#if defined(__AVX512F__)
#define FOLD(v) _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1))
    __m256 ab = _mm256_hadd_ps(FOLD(a), FOLD(b)), cd = _mm256_hadd_ps(FOLD(c), FOLD(d));
    __m256 all = _mm256_hadd_ps(ab, cd);
    return (v4)_mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
#undef FOLD
#elif defined(__AVX2__)
    __m256 ab = _mm256_hadd_ps((__m256)a, (__m256)b), cd = _mm256_hadd_ps((__m256)c, (__m256)d);
    __m256 all = _mm256_hadd_ps(ab, cd);
    return (v4)_mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
#else
    vf all[4] = {a, b, c, d};
    v4 out = {0};
    for (int i = 0; i < 4; i++) {
        float part[VL];
        store(part, all[i]);
        for (int width = VL / 2; width; width /= 2)
            for (int j = 0; j < width; j++) part[j] += part[j + width];
        out[i] = part[0];
    }
    return out;
#endif
}

INLINE float sum(vf v) { return sum4(v, (vf){0}, (vf){0}, (vf){0})[0]; }

INLINE float largest(vf v) {
#if defined(__AVX2__)
#if defined(__AVX512F__)
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#else
    const __m256 eight = (__m256)v;
#endif
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
#else
    float part[VL], best;
    store(part, v);
    best = part[0];
    for (int i = 1; i < VL; i++) best = part[i] > best ? part[i] : best;
    return best;
#endif
}

/* The larger and the smaller of two; b where either is no number. */
INLINE vf max_(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return blend((vi)(a > b), a, b);
#endif
}

INLINE vf min_(vf a, vf b) {
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return blend((vi)(a < b), a, b);
#endif
}

/* e^x for x between -87 and 88, relative error below 2e-7. */
INLINE vf exp_near(vf x) {
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23 rounds */
    vf shifted = fma_(x, splat(1.44269504089f), magic), n = shifted - magic;
    vf r = fma_(n, splat(-0.693359375f), x);
    r = fma_(n, splat(2.12194440e-4f), r);
    vf p = splat(1.9875691500e-4f);
    p = fma_(p, r, splat(1.3981999507e-3f));
    p = fma_(p, r, splat(8.3334519073e-3f));
    p = fma_(p, r, splat(4.1665795894e-2f));
    p = fma_(p, r, splat(1.6666665459e-1f));
    p = fma_(p, r, splat(5.0000001201e-1f));
    p = fma_(p, r * r, r + splat(1.0f));
    vi power = (((vi)shifted - (vi)magic) + 127) << 23;
    return p * (vf)power;
}

/* The same for every x; 0 where the result is below the normal numbers. */
INLINE vf exp_(vf x) {
    const vf low = splat(-87.0f);
    return blend((vi)(x < low), splat(0.0f), exp_near(max_(low, min_(splat(88.0f), x))));
}

/* x * P(normal < x), the exact GELU; erf after Abramowitz and Stegun 7.1.26, absolute error 1.5e-7. */
INLINE vf gelu(vf x) {
    vf a = x * splat(0.70710678f);
    vf magnitude = blend((vi)(a < splat(0.0f)), -a, a);
    vf t = splat(1.0f) / fma_(magnitude, splat(0.3275911f), splat(1.0f));
    vf p = splat(1.061405429f);
    p = fma_(p, t, splat(-1.453152027f));
    p = fma_(p, t, splat(1.421413741f));
    p = fma_(p, t, splat(-0.284496736f));
    p = fma_(p, t, splat(0.254829592f));
    vf tail = p * t * exp_(-magnitude * magnitude); /* 1 - erf(|a|) */
    vf cdf = splat(0.5f) * blend((vi)(a < splat(0.0f)), tail, splat(2.0f) - tail);
    return x * cdf;
}
