/* Records, as records.py and program.py fill them. */

#pragma once

#include <stdint.h>

enum { F32, BF16, F16, I8, I4, PANELS8, PANELS4 };
enum { NONE, GELU, RELU };

/* In PANELS, 32 rows at a time are interleaved: of each four columns, four weights of every row; of each group of 64
 * columns, the scales of every row. 4-bit panels keep rows 0 ... 15 in the low halves and 16 ... 31 in the high ones. */
typedef struct {
    int32_t kind, rows, cols, group; /* [rows, cols] row by row; one bfloat16 scale per `group` of a row's weights */
    const void *data;
    const uint16_t *scales;
    const float *bias;
} Matrix;

typedef struct {
    const float *weight, *bias;
} Norm;

typedef struct {
    Norm norm1, norm_cross, norm2;
    Matrix qkv, out, cross_q, cross_out, up, down;
} Layer;

typedef struct {
    int32_t layers, width, heads, kv_heads, head_dim, hidden, activation, crosses, past_context;
    float eps;
    const Layer *layer;
} Model;

/* What is before and behind the layers: tables of codes, sines of positions, the last norm and a head per codebook. */
typedef struct {
    int32_t codebooks, entries, has_sines, has_norm;
    float sines;                /* their factor */
    const float *periods;       /* [width / 2] */
    const float *const *tables; /* of each codebook, [entries, width] */
    Norm norm;
    const Matrix *heads;
} Ends;

/* Keys and values [rows, heads, steps, head_dim]; strides in elements, head_dim is contiguous. Behind each vector of the
 * kind I8 is its scale, a float. */
typedef struct {
    void *keys, *values;
    int64_t row, head, step, length; /* length: of a cross-attention source */
    int32_t kind;                    /* F32, F16 or I8 */
} Memory;

typedef struct {
    int32_t tokens, threads, parts;
    const int64_t *part, *row, *position; /* of each token; its row is one of its part's */
    const float *turn_q, *turn_k;         /* [tokens, head_dim / 2] complex, or NULL */
    const Memory *past, *source;          /* [layers, parts] */
    float *x;                             /* [tokens, width], changed */
} Pass;
