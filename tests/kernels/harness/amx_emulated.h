/* The instructions of AMX that the kernels use, by their definition, for processors and emulators that have none. Included
 * before anything else with -include. Tiles are a thread's own; rows beyond those of a tile's shape are zero. */

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define __AMX_TILE__ 1
#define __AMX_INT8__ 1
#define EMULATED_TILES 1

typedef struct {
    uint8_t rows;
    uint16_t bytes;
    uint8_t data[16][64];
} EmulatedTile;

static _Thread_local EmulatedTile e_tiles[8];

static inline void e_tile_loadconfig(const void *shapes) {
    memset(e_tiles, 0, sizeof e_tiles);
    for (int i = 0; i < 8; i++) {
        memcpy(&e_tiles[i].bytes, (const uint8_t *)shapes + 16 + 2 * i, 2);
        e_tiles[i].rows = ((const uint8_t *)shapes)[48 + i];
    }
}

static inline void e_tile_release(void) { memset(e_tiles, 0, sizeof e_tiles); }

static inline void e_tile_zero(int at) { memset(e_tiles[at].data, 0, sizeof e_tiles[at].data); }

static inline void e_tile_loadd(int at, const void *from, size_t stride) {
    e_tile_zero(at);
    for (int r = 0; r < e_tiles[at].rows; r++)
        memcpy(e_tiles[at].data[r], (const uint8_t *)from + r * stride, e_tiles[at].bytes);
}

static inline void e_tile_stored(int at, void *to, size_t stride) {
    for (int r = 0; r < e_tiles[at].rows; r++)
        memcpy((uint8_t *)to + r * stride, e_tiles[at].data[r], e_tiles[at].bytes);
}

/* sums[m][n] + four signed bytes of a[m] times four of b, in each quad k. */
static inline void e_tile_dot(int sums, int a, int b, int is_signed) {
    for (int m = 0; m < e_tiles[sums].rows; m++)
        for (int n = 0; n < e_tiles[sums].bytes / 4; n++) {
            uint32_t sum;
            memcpy(&sum, e_tiles[sums].data[m] + 4 * n, 4);
            for (int k = 0; k < e_tiles[a].bytes; k++) {
                const uint8_t by = e_tiles[b].data[k / 4][4 * n + k % 4];
                sum += (uint32_t)((int8_t)e_tiles[a].data[m][k] * (is_signed ? (int8_t)by : (int)by));
            }
            memcpy(e_tiles[sums].data[m] + 4 * n, &sum, 4);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#define _tile_loadconfig e_tile_loadconfig
#define _tile_release e_tile_release
#define _tile_zero e_tile_zero
#define _tile_loadd e_tile_loadd
#define _tile_stored e_tile_stored
#define _tile_dpbssd(sums, a, b) e_tile_dot(sums, a, b, 1)
#define _tile_dpbsud(sums, a, b) e_tile_dot(sums, a, b, 0)
