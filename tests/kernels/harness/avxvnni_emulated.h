/* The one instruction of AVX-VNNI that the kernels use, by its definition, for processors and emulators that have none.
 * Included before anything else with -include. */

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define __AVXVNNI__ 1

/* sums[i] + four bytes of a, unsigned, times four of b, signed. */
static inline __m256i e_dpbusd_avx_epi32(__m256i sums, __m256i a, __m256i b) {
    uint8_t from[32];
    int8_t by[32];
    uint32_t v[8];
    memcpy(from, &a, 32), memcpy(by, &b, 32), memcpy(v, &sums, 32);
    for (int i = 0; i < 32; i++) v[i / 4] += (uint32_t)(from[i] * by[i]);
    memcpy(&sums, v, 32);
    return sums;
}

#define _mm256_dpbusd_avx_epi32 e_dpbusd_avx_epi32
