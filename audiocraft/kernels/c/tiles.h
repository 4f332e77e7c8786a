/* Products of bytes by tiles (AMX of x86-64): one instruction multiplies a group of up to 16 tokens with a group of 16 rows
 * of the matrix, all 64 columns, and adds up in 32 bits. A panel lies in memory as such a tile wants it, four columns of a
 * row side by side, and so do the inputs. The sums of a group are exact and meet their scales in the order of the other
 * levels, so the results are theirs to the bit.
 *
 * The system has to allow a process to use tiles: `build.features` asks it. */

#pragma once

#if defined(__AMX_INT8__) && DOT_UNSIGNED && VL == 16
#define HAS_TILES 1
#else
#define HAS_TILES 0
#endif

#if HAS_TILES

/* Tokens of a tile, of two of them, and those from which on tiles are faster than the sums of `many_panel`. */
enum { TILE_ROW = 64, TILE_TOKENS = 16, TILED_AT_ONCE = 2 * TILE_TOKENS, LEAST_TILED = 12 };

/* Compilers do not know what the instructions of tiles read: what was written before stays before. */
INLINE void keep_order(void) { __asm__ volatile("" ::: "memory"); }

/* What `ldtilecfg` reads. */
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileShapes;

/* Tiles 0 to 3 hold sums: of the first 16 tokens with both halves of a panel, and of the others; 4 and 5 hold the halves'
 * weights, 6 and 7 the inputs. */
INLINE void shape_tiles(int tokens) {
    const uint8_t first = (uint8_t)(tokens < TILE_TOKENS ? tokens : TILE_TOKENS), second = (uint8_t)(tokens - first);
    _Alignas(64) TileShapes shapes = {
        .palette = 1,
        .row_bytes = {TILE_ROW, TILE_ROW, TILE_ROW, TILE_ROW, TILE_ROW, TILE_ROW, TILE_ROW, TILE_ROW},
        .rows = {first, first, second ? second : 1, second ? second : 1, GROUP / 4, GROUP / 4, first, second ? second : 1},
    };
    keep_order();
    _tile_loadconfig(&shapes);
}

/* The instructions take the numbers of tiles as constants only. */
#define MULTIPLY_TILES(kind, sums, inputs, weights)                  \
    do {                                                             \
        _tile_zero(sums);                                            \
        if (kind == PANELS8) _tile_dpbssd(sums, inputs, weights);    \
        else _tile_dpbsud(sums, inputs, weights);                    \
    } while (0)

typedef int32_t TiledSums[2][TILED_AT_ONCE][VL];

/* Whole sums of a group with both halves of a panel, for tokens at x, at most 32. */
INLINE void tiled_sums(const int kind, const uint8_t *group, const int8_t *x, int tokens, TiledSums sums) {
    _Alignas(64) int32_t unpacked[2][GROUP / 4][VL];
    const void *weights[2] = {group, group + TILE_ROW};
    int stride = (int)panel_quad(kind);
    if (kind == PANELS4) {
        for (int q = 0; q < GROUP / 4; q++) {
            const vi pairs = load_bytes(group + q * panel_quad(kind));
            store_int(unpacked[0][q], low_halves(pairs));
            store_int(unpacked[1][q], high_halves(pairs));
        }
        weights[0] = unpacked[0], weights[1] = unpacked[1], stride = TILE_ROW;
    }
    keep_order();
    _tile_loadd(4, weights[0], stride);
    _tile_loadd(5, weights[1], stride);
    _tile_loadd(6, x, GROUP);
    MULTIPLY_TILES(kind, 0, 6, 4);
    MULTIPLY_TILES(kind, 1, 6, 5);
    if (tokens > TILE_TOKENS) {
        _tile_loadd(7, x + TILE_TOKENS * GROUP, GROUP);
        MULTIPLY_TILES(kind, 2, 7, 4);
        MULTIPLY_TILES(kind, 3, 7, 5);
    }
    _tile_stored(0, sums[0], TILE_ROW);
    _tile_stored(1, sums[1], TILE_ROW);
    if (tokens > TILE_TOKENS) {
        _tile_stored(2, sums[0] + TILE_TOKENS, TILE_ROW);
        _tile_stored(3, sums[1] + TILE_TOKENS, TILE_ROW);
    }
}

/* y[M][32], a panel for tokens t ... t + M - 1, at most 32; the sums so far are in y. Of the weights two groups further on,
 * the lines are asked for if `asks`. */
INLINE void tiled_tokens(const int kind, int M, const int asks, const Matrix *w, Inputs in, int t, int n, float *y, int ldy) {
    const int groups = w->cols / GROUP, wide = scales_stride(w->cols);
    const size_t bytes_of = panel_quad(kind) * (GROUP / 4);
    const uint8_t *group = (const uint8_t *)w->data + (size_t)n / PANEL * bytes_of * groups;
    const uint16_t *scales = w->scales + (size_t)n * groups;
    /* A group's sums are on their way to memory, which takes long, while those of the group before meet their scales. */
    _Alignas(64) TiledSums sums[2];
    tiled_sums(kind, group, bytes_of_group(in, 0, t), M, sums[0]);
    for (int g = 0; g < groups; g++, scales += PANEL) {
        group += bytes_of;
        if (asks) fetch(group + bytes_of, (int)bytes_of);
        if (g + 1 < groups) tiled_sums(kind, group, bytes_of_group(in, g + 1, t), M, sums[(g + 1) % 2]);
        const vf own[2] = {load_bf16(scales), load_bf16(scales + VL)};
        for (int m = 0; m < M; m++) {
            const size_t place = (size_t)(t + m) * wide + g;
            const vf theirs = splat(in.scales[place]);
            for (int h = 0; h < 2; h++) {
                float *at = y + (size_t)m * ldy + h * VL;
                vi whole = load_int(sums[g % 2][h][m]);
                if (kind == PANELS4) whole += splat_int(in.all[place]);
                store(at, fma_(from_int(whole), own[h] * theirs, g ? load(at) : (vf){0}));
            }
        }
    }
}

/* The same sums as `int8_panel` for many tokens, 32 at a time. */
INLINE void tiled_panel(const int kind, int M, const Matrix *w, Inputs in, int n, float *y, int ldy) {
    for (int t = 0; t < M; t += TILED_AT_ONCE) {
        const int count = M - t < TILED_AT_ONCE ? M - t : TILED_AT_ONCE;
        float *from = y + (size_t)t * ldy + n;
        if (t == 0 || count < TILED_AT_ONCE) shape_tiles(count);
        if (t == 0) tiled_tokens(kind, count, 1, w, in, t, n, from, ldy);
        else tiled_tokens(kind, count, 0, w, in, t, n, from, ldy);
    }
    _tile_release();
}

#endif
