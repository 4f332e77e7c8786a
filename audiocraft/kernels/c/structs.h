/* What Python hands over: every struct, field for field as kernels/structs.py and kernels/codec_structs.py have it, and
 * the answers of the functions that Python calls. A change here is a change of ABI_VERSION, which Python reads from this
 * file. */

#pragma once

#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION 9

/* What a function answers. Everything but OK means that nothing was computed. */
enum { OK, NO_MEMORY, BAD_CODE, BAD_MATRIX, BAD_MODEL, BAD_STEP, BAD_CACHE, BAD_HEADS, BAD_NETWORK, BAD_SPAN, BAD_LSTM, BAD_CALL, BAD_TABLES };

/* What ac_read_codes answers of content that no encoder wrote. */
enum { ENDS_EARLY = -1, ENDS_LATE = -2, REPEATS_NOTHING = -3 };

enum { F32, BF16, F16, I8, I4, PANELS8, PANELS4, KINDS };
enum { NONE, GELU, RELU, ACTIVATIONS };

/* Weights of a row that share a scale, in the kinds from I8 on; rows of a panel. */
enum { GROUP = 64, PANEL = 32 };

/* In PANELS, 32 rows at a time are interleaved: of each four columns, four weights of every row; of each group of 64
 * columns, the scales of every row. 4-bit panels keep rows 0 ... 15 in the low halves and 16 ... 31 in the high ones. */
typedef struct {
    int32_t kind, rows, cols; /* [rows, cols] row by row */
    const void *data;
    const uint16_t *scales; /* one bfloat16 per group of a row's weights, in the kinds from I8 on */
    const float *bias;      /* [rows], or NULL */
} Matrix;

typedef struct {
    const float *weight, *bias; /* [width] */
} Norm;

typedef struct {
    Norm norm1, norm_cross, norm2;
    Matrix qkv, out, cross_q, cross_out, up, down;
} Layer;

typedef struct {
    int32_t layers, width, heads, kv_heads, head_dim, hidden, activation, crosses;
    int32_t past_context; /* earlier positions that a token sees; all if negative */
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
    const Matrix *heads; /* one per codebook, all of one shape */
} TokenHeads;

/* Cached keys and values [rows, heads, steps, head_dim]; strides in elements, head_dim is contiguous. Behind each vector
 * of the kind I8 is its scale, a float. A row of int64 numbers in Python. */
typedef struct {
    void *keys, *values;
    int64_t row, head, step; /* strides */
    int64_t rows, length;    /* rows there are, and steps in each */
    int64_t kind;            /* F32, F16 or I8 */
} KVView;

/* What is added to the product of one matrix: y += b . (a . x), before the activation. */
typedef struct {
    int32_t rank;      /* a multiple of the lanes, or 0 for nothing */
    const float *a, *b; /* [rank, cols], [rows, rank] */
} AddedProduct;

/* The matrices of a layer that may be adapted, in the order of their `AddedProduct`s. */
enum { QKV, OUT, CROSS_Q, CROSS_OUT, UP, DOWN, ADAPTABLE };

typedef struct {
    int32_t tokens, threads, parts;
    const int64_t *part, *row, *position; /* of each token; its row is one of its part's */
    const float *rotate_q, *rotate_k;     /* [tokens, head_dim / 2] complex, or NULL */
    const KVView *past, *source;          /* [layers, parts] */
    float *x;                             /* [tokens, width], changed */
    const AddedProduct *const *adapters;       /* of each part, [layers, ADAPTABLE], or NULL; all may be NULL */
} StepInput;

/* Attention of [rows, heads, steps, dim] to keys and values [rows, heads / repeat, length, dim], whose steps are `context`
 * apart at most, if it is not negative; all see the first `shared` ones, and these see all. out [rows, steps, heads, dim].
 * Strides in elements; dim is contiguous. */
typedef struct {
    const float *query, *key, *value;
    float *out;
    int64_t rows, heads, repeat, steps, length, dim;
    int64_t query_row, query_head, query_step, key_row, key_head, key_step, value_row, value_head, value_step;
    int64_t context, shared;
} Attended;

/* ---------------------------------------------------------------- codecs */

enum { RAW, ACTIVE, PLANES }; /* a signal, and the same after its activation */
enum { WITHOUT, WITH_ELU, WITH_GELU, CODEC_ACTIVATIONS };
enum { ZEROS, REFLECT, PADDINGS };
enum { MOST_SIGNALS = 96 };

typedef struct {
    int32_t channels, raw, active, pad; /* which planes are needed, by which activation; what lies beyond the ends */
} Signal;

/* Row r of the product: `taps` runs of `inner` floats, the first at row r * stride - left of the source, each `hop` rows
 * after the one before, times weight [panels of NR columns][taps * inner][NR]. It makes rows r * up - trim ... + up of
 * the target, side by side in `columns`. */
typedef struct {
    int32_t source, reads, target, add; /* add: the signal that is added, or -1 */
    int32_t taps, hop, inner, stride, left, span;
    int32_t up, trim, columns, narrow; /* narrow: few columns, weight [columns][inner] */
    const float *weight, *bias;
} Step;

/* Steps first ... last - 1, in tiles of `rows` of what the last one makes; one step alone also by `panels` of columns. */
typedef struct {
    int32_t first, last, rows, panels;
} FusedSteps;

typedef struct {
    int32_t signals, steps, groups;
    const Signal *signal; /* the first is the input, the last the output */
    const Step *step;
    const FusedSteps *group;
} Network;

/* A piece of a network to make: rows low ... high - 1 of the output, of an input of `length` rows that is here from row
 * `first` on. */
typedef struct {
    const float *x;
    float *out;
    int64_t first, length, low, high;
} RowSpan;

typedef struct {
    int32_t width, input;              /* of the state, and of the inputs */
    const float *w_in, *bias;          /* [4 * width, input], [4 * width] */
    const void *back;                  /* what ac_lstm_pack made */
} Lstm;

/* How likely the symbols of codes are (docs/codec-format.md). Without a context model its fields are 0. */
typedef struct {
    int32_t codebooks, symbols;    /* symbols: of a codebook, one more than its codes */
    int32_t width, hidden, frames; /* of an embedding, of the hidden layer; frames of the past that are heard */
    const int32_t *starts;         /* [codebooks, symbols + 1] */
    const int32_t *embed;          /* [codebooks, symbols, width] */
    const int32_t *past;           /* [frames * codebooks * width, codebooks, hidden] */
    const int32_t *same;           /* [codebooks, codebooks * width, hidden] */
    const int32_t *hidden_bias;    /* [codebooks, hidden] */
    const int32_t *out;            /* [codebooks, hidden, symbols] */
    const int32_t *out_bias;       /* [codebooks, symbols] */
} SymbolTables;
