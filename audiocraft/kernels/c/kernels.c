/* One step of a transformer language model over a few tokens, and the products of few rows with large matrices that it
 * is made of. What it reads is the weights, once; everything here is about reading them at the memory's speed.
 *
 * Rules that the rest of the package relies on:
 * - What a token becomes depends on its own row only, to the last bit: each output is summed over the inputs in one
 *   fixed order, however many tokens, threads and neighbours there are.
 * - Weights are turned into float32 as they are read and multiplied in float32, but see "products of bytes".
 * - Nothing is kept between calls but threads that wait.
 * - Every function that Python calls looks at what it is given first (checks.h) and computes nothing of what it refuses.
 *
 * Plain C with compiler vectors; AVX-512, AVX2 or neither is decided by the compiler's target. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "pool.h"
#include "products.h"
#include "structs.h"
#include "vectors.h"

/* ---------------------------------------------------------------- norms and attention */

static void layer_norm(const float *x, int width, Norm norm, float eps, float *y) {
    vf total = {0}, squares = {0};
    for (int i = 0; i < width; i += VL) total += load(x + i);
    vf mean = splat(sum(total) / (float)width);
    for (int i = 0; i < width; i += VL) {
        vf off = load(x + i) - mean;
        squares = fma_(off, off, squares);
    }
    vf scale = splat(1.0f / sqrtf(sum(squares) / (float)width + eps));
    for (int i = 0; i < width; i += VL)
        store(y + i, fma_((load(x + i) - mean) * scale, load(norm.weight + i), load(norm.bias + i)));
}

typedef struct {
    const float *x;
    float *y;
    int width;
    Norm norm;
    float eps;
} NormJob;

static void norm_task(void *job, int task, int thread) {
    (void)thread;
    const NormJob *n = job;
    layer_norm(n->x + (size_t)task * n->width, n->width, n->norm, n->eps, n->y + (size_t)task * n->width);
}

static void normalise(int threads, const Model *model, Norm norm, const float *x, int tokens, float *y) {
    NormJob job = {x, y, model->width, norm, model->eps};
    parallel(tokens > FEW ? threads : 1, tokens, norm_task, &job);
}

INLINE vf load_kv(const void *base, int64_t at, int kind) {
    return kind == F16  ? load_f16((const uint16_t *)base + at)
           : kind == I8 ? load_i8((const int8_t *)base + at)
                        : load((const float *)base + at);
}

/* The scale behind the vector of `dim` bytes at `at`; 1 where vectors have none. */
INLINE float scale_at(const void *base, int64_t at, int dim, int kind) {
    float scale = 1.0f;
    if (kind == I8) memcpy(&scale, (const int8_t *)base + at + dim, sizeof scale);
    return scale;
}

/* Ask for the vector at `at`: of what lies far from the last one, or comes faster than it is awaited, the processor asks
 * too late. */
INLINE void fetch_vector(const void *base, int64_t at, int dim, int kind) {
    const int size = kind == F32 ? 4 : kind == F16 ? 2 : 1;
    fetch((const uint8_t *)base + at * size, dim * size);
}

typedef struct {
    const Model *model;
    const StepInput *step;
    const KVView *views; /* one per part */
    const float *query;     /* [tokens, stride] */
    float *out;         /* [tokens, width] */
    float *scores;      /* [threads, room] */
    int stride, first, causal;
    size_t room;
} Attention;

/* Steps [from, to) of the cache that token t may look at. */
static void attended_range(const Attention *a, const KVView *view, int t, int64_t *from, int64_t *to) {
    int64_t position = a->step->position[t], context = a->model->past_context;
    *from = a->causal && context >= 0 && position > context ? position - context : 0;
    *to = a->causal ? position + 1 : view->length;
}

enum { AHEAD = 16 }; /* steps that are asked for before they are read */

/* scores[count] = query[dim] . keys from `at` on, each times `scale`. */
INLINE void score(const KVView *view, const int kind, const int dim, const float *query, int64_t at, int64_t count,
                  float scale, float *scores) {
    const int64_t step = view->step;
    int64_t s = 0;
    for (; s + 4 <= count; s += 4, at += 4 * step) {
        vf acc[4] = {{0}};
        v4 scales;
        for (int j = 0; j < 4; j++) fetch_vector(view->keys, at + (AHEAD + j) * step, dim, kind);
        for (int i = 0; i < dim; i += VL)
            for (int j = 0; j < 4; j++)
                acc[j] = fma_(load(query + i), load_kv(view->keys, at + j * step + i, kind), acc[j]);
        for (int j = 0; j < 4; j++) scales[j] = scale * scale_at(view->keys, at + j * step, dim, kind);
        *(v4 *)(scores + s) = sum4(acc[0], acc[1], acc[2], acc[3]) * scales;
    }
    for (; s < count; s++, at += step) {
        vf acc = {0};
        for (int i = 0; i < dim; i += VL) acc = fma_(load(query + i), load_kv(view->keys, at + i, kind), acc);
        scores[s] = sum(acc) * (scale * scale_at(view->keys, at, dim, kind));
    }
}

/* Scores to weights that add up to the result; there is room for whole vectors. */
INLINE float softmax(float *scores, int64_t count) {
    const int64_t padded = (count + VL - 1) / VL * VL;
    vf top = splat(-INFINITY), mass = {0};
    for (int64_t s = count; s < padded; s++) scores[s] = -INFINITY;
    for (int64_t s = 0; s < padded; s += VL) top = blend((vi)(load(scores + s) > top), load(scores + s), top);
    vf most = splat(largest(top));
    for (int64_t s = 0; s < padded; s += VL) {
        vf weight = exp_(load(scores + s) - most);
        store(scores + s, weight);
        mass += weight;
    }
    return sum(mass);
}

/* out[parts x VL] = the sum of `count` values from `at` + i on, each times its weight, times `scale`. */
INLINE void weighted_sum(const KVView *view, const int kind, const int dim, const int parts, int i, int64_t at, int64_t count,
                const float *weights, vf scale, float *out) {
    vf acc[4] = {{0}};
    for (int64_t s = 0; s < count; s++, at += view->step) {
        vf weight = splat(weights[s] * scale_at(view->values, at, dim, kind));
        fetch_vector(view->values, at + AHEAD * view->step, dim, kind);
        for (int j = 0; j < parts; j++)
            acc[j] = fma_(weight, load_kv(view->values, at + i + j * VL, kind), acc[j]);
    }
    for (int j = 0; j < parts; j++) store(out + i + j * VL, acc[j] * scale);
}

INLINE void attend_head(const Attention *a, const KVView *view, const int kind, const int dim, int t, int head,
                   float *scores) {
    const int repeat = a->causal ? a->model->heads / a->model->kv_heads : 1;
    const float *query = a->query + (size_t)(t - a->first) * a->stride + (size_t)head * dim;
    float *out = a->out + (size_t)(t - a->first) * a->model->width + (size_t)head * dim;
    int64_t at = a->step->row[t] * view->row + head / repeat * view->head, from, to;
    attended_range(a, view, t, &from, &to);
    at += from * view->step;
    const int64_t count = to - from;
    const int early = count < AHEAD ? (int)count : AHEAD;
    for (int s = 0; s < early; s++) fetch_vector(view->values, at + s * view->step, dim, kind);
    score(view, kind, dim, query, at, count, 1.0f / sqrtf((float)dim), scores);
    vf scale = splat(count > 0 ? 1.0f / softmax(scores, count) : 0.0f);
    if ((head + 1) % repeat == 0) /* the next task, most likely */
        for (int s = 0; s < early; s++) fetch_vector(view->keys, at + view->head + s * view->step, dim, kind);
    int i = 0;
    for (; i + 4 * VL <= dim; i += 4 * VL) weighted_sum(view, kind, dim, 4, i, at, count, scores, scale, out);
    for (; i < dim; i += VL) weighted_sum(view, kind, dim, 1, i, at, count, scores, scale, out);
}

static void attention_task(void *job, int task, int thread) {
    const Attention *a = job;
    int t = a->first + task / a->model->heads, head = task % a->model->heads, dim = a->model->head_dim;
    float *scores = a->scores + a->room * thread;
    const KVView *view = a->views + a->step->part[t];
#define ATTEND(kind)                                          \
    if (dim == 64) attend_head(a, view, kind, 64, t, head, scores); \
    else attend_head(a, view, kind, dim, t, head, scores)
    switch (view->kind) {
    case F16: ATTEND(F16); break;
    case I8: ATTEND(I8); break;
    default: ATTEND(F32);
    }
#undef ATTEND
}

/* Rotate pairs of neighbouring channels of `heads` heads. */
static void rotate(float *x, int heads, int dim, const float *by) {
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < dim; i += 2) {
            float *pair = x + (size_t)h * dim + i, real = pair[0], imaginary = pair[1];
            pair[0] = real * by[i] - imaginary * by[i + 1];
            pair[1] = real * by[i + 1] + imaginary * by[i];
        }
}

/* A vector of `dim` numbers into a cache; in bytes, the largest of them becomes 127. */
INLINE void store_vector(void *base, int64_t at, const int kind, const float *x, int dim) {
    if (kind == I8) {
        vf top = {0};
        for (int i = 0; i < dim; i += VL) {
            vf v = load(x + i), size = blend((vi)(v < splat(0.0f)), -v, v);
            top = blend((vi)(size > top), size, top);
        }
        const float scale = largest(top) / 127.0f;
        const vf by = splat(scale > 0.0f ? scale : 1.0f);
        for (int i = 0; i < dim; i += VL) store_i8((int8_t *)base + at + i, load(x + i) / by);
        memcpy((int8_t *)base + at + dim, &scale, sizeof scale);
    } else {
        for (int i = 0; i < dim; i += VL)
            if (kind == F16)
                store_f16((uint16_t *)base + at + i, load(x + i));
            else
                store((float *)base + at + i, load(x + i));
    }
}

/* Put the keys and values of a token, [kv_heads, head_dim] each, where its position is. */
static void store_kv(const Model *model, const KVView *view, int64_t row, int64_t position, const float *key,
                     const float *value) {
    for (int h = 0; h < model->kv_heads; h++) {
        int64_t at = row * view->row + h * view->head + position * view->step;
        store_vector(view->keys, at, view->kind, key + (size_t)h * model->head_dim, model->head_dim);
        store_vector(view->values, at, view->kind, value + (size_t)h * model->head_dim, model->head_dim);
    }
}

/* ---------------------------------------------------------------- the layers */

typedef struct {
    const Model *model;
    const StepInput *step;
    int threads, first, tokens;
    float *normed, *qkv, *mixed, *hidden, *inputs, *unpacked, *scores;
    float *low, *added; /* where tokens are adapted: [tokens, rank], [tokens, rows] */
    size_t room;
} Run;

/* What adapters add to the product of matrix `which` of a layer: a row for each token that has one, else NULL. Tokens of
 * one part go together; what becomes of each depends on its own row only, as in every product. */
static void adapt(const Run *run, int layer, int which, const Matrix *w, const float *x, const float *extra[]) {
    const StepInput *step = run->step;
    for (int i = 0, end; i < run->tokens; i = end) {
        const int64_t part = step->part[run->first + i];
        for (end = i + 1; end < run->tokens && step->part[run->first + end] == part; end++) {}
        const AddedProduct *own = step->adapters[part] ? step->adapters[part] + (size_t)layer * ADAPTABLE + which : NULL;
        for (int j = i; j < end; j++) extra[j] = own && own->rank ? run->added + (size_t)j * w->rows : NULL;
        if (!extra[i]) continue;
        const Matrix a = {.kind = F32, .rows = own->rank, .cols = w->cols, .data = own->a};
        const Matrix b = {.kind = F32, .rows = w->rows, .cols = own->rank, .data = own->b};
        Product down = {.w = &a, .x = x + (size_t)i * w->cols, .M = end - i, .y = run->low, .ldy = own->rank};
        Product up = {.w = &b, .x = run->low, .M = end - i, .y = run->added + (size_t)i * w->rows, .ldy = w->rows};
        product(run->threads, down, NULL);
        product(run->threads, up, NULL);
    }
}

static void multiply(const Run *run, int layer, int which, const Matrix *w, const float *x, float *y, int activation,
                     int add) {
    const float *extra[AT_ONCE];
    Product p = {.w = w, .x = x, .M = run->tokens, .y = y, .ldy = w->rows, .activation = activation, .add = add,
                 .unpacked = run->unpacked};
    if (run->step->adapters) {
        adapt(run, layer, which, w, x, extra);
        p.extra = extra;
    }
    product(run->threads, p, run->inputs);
}

static void attend_all(const Run *run, const KVView *views, const float *query, int stride, int causal) {
    Attention a = {run->model, run->step, views, query,  run->mixed, run->scores,
                   stride,     run->first, causal,  run->room};
    parallel(run->threads, run->tokens * run->model->heads, attention_task, &a);
}

static void run_layer(const Run *run, int index) {
    const Model *model = run->model;
    const StepInput *step = run->step;
    const Layer *layer = model->layer + index;
    const int width = model->width, kv = model->kv_heads * model->head_dim, stride = width + 2 * kv;
    const int tokens = run->tokens, threads = run->threads, half = model->head_dim / 2 * 2;
    const KVView *past = step->past + (size_t)index * step->parts;
    float *x = step->x + (size_t)run->first * width;
    normalise(threads, model, layer->norm1, x, tokens, run->normed);
    multiply(run, index, QKV, &layer->qkv, run->normed, run->qkv, NONE, 0);
    for (int i = 0; i < tokens; i++) {
        int t = run->first + i;
        float *query = run->qkv + (size_t)i * stride, *key = query + width;
        if (step->rotate_q) {
            rotate(query, model->heads, model->head_dim, step->rotate_q + (size_t)t * half);
            rotate(key, model->kv_heads, model->head_dim, step->rotate_k + (size_t)t * half);
        }
        store_kv(model, past + step->part[t], step->row[t], step->position[t], key, key + kv);
    }
    attend_all(run, past, run->qkv, stride, 1);
    multiply(run, index, OUT, &layer->out, run->mixed, x, NONE, 1);
    if (model->crosses) {
        normalise(threads, model, layer->norm_cross, x, tokens, run->normed);
        multiply(run, index, CROSS_Q, &layer->cross_q, run->normed, run->qkv, NONE, 0);
        attend_all(run, step->source + (size_t)index * step->parts, run->qkv, width, 0);
        multiply(run, index, CROSS_OUT, &layer->cross_out, run->mixed, x, NONE, 1);
    }
    normalise(threads, model, layer->norm2, x, tokens, run->normed);
    multiply(run, index, UP, &layer->up, run->normed, run->hidden, model->activation, 0);
    multiply(run, index, DOWN, &layer->down, run->hidden, x, NONE, 1);
}

/* ---------------------------------------------------------------- what Python calls */

int ac_version(void) { return ABI_VERSION; }

/* Work in the threads of the OpenMP library that these belong to. */
void ac_use_team(StartTeam start, EndTeam end) {
    pool.start_team = start;
    pool.end_team = end;
}

/* Lanes of a vector: widths of heads and of groups must be multiples. */
int ac_lanes(void) { return VL; }

/* Whether 8- and 4-bit weights in groups of 64 meet inputs that are rounded to 8 bits. */
int ac_quantizes(void) { return HAS_INT8_DOT; }

/* The size of a struct, by its place in the list that Python asks with; 0 beyond its end. */
int ac_size_of(int32_t index) {
    static const size_t sizes[] = {
        sizeof(Matrix), sizeof(Norm), sizeof(Layer), sizeof(Model), sizeof(StepInput), sizeof(TokenHeads), sizeof(KVView),
        sizeof(Signal), sizeof(Step), sizeof(FusedSteps), sizeof(Network), sizeof(RowSpan), sizeof(Lstm), sizeof(AddedProduct),
        sizeof(SymbolTables), sizeof(Attended),
    };
    return index >= 0 && (size_t)index < sizeof sizes / sizeof *sizes ? (int)sizes[index] : 0;
}

/* The largest rank that is added to a product of this step. */
static size_t most_rank(const Model *model, const StepInput *step) {
    size_t most = 0;
    for (int part = 0; step->adapters && part < step->parts; part++)
        for (int64_t i = 0; step->adapters[part] && i < (int64_t)model->layers * ADAPTABLE; i++)
            if ((size_t)step->adapters[part][i].rank > most) most = step->adapters[part][i].rank;
    return most;
}

/* Memory for as many tokens as pass through the layers at once, or NULL. */
static float *plan(Run *run, const Model *model, const StepInput *step) {
    int64_t longest = 0;
    for (int t = 0; t < step->tokens; t++)
        if (step->position[t] + 1 > longest) longest = step->position[t] + 1;
    for (int part = 0; model->crosses && part < step->parts; part++)
        if (step->source[part].length > longest) longest = step->source[part].length;
    const int tokens = step->tokens < AT_ONCE ? step->tokens : AT_ONCE;
    const size_t width = model->width, stride = width + 2 * (size_t)model->kv_heads * model->head_dim;
    const size_t room = ((size_t)longest + VL + 15) / 16 * 16;
    const size_t widest = stride > (size_t)model->hidden ? stride : (size_t)model->hidden;
    const size_t unpacked = tokens > FEW ? unpacked_size(width > (size_t)model->hidden ? width : (size_t)model->hidden) : 0;
    const size_t rank = most_rank(model, step), low = rank ? rank + widest : 0;
    const size_t per_token = 2 * width + stride + model->hidden + inputs_size(widest) + low;
    float *memory = scratch_floats(per_token * tokens + (unpacked + room) * run->threads);
    if (!memory) return NULL;
    run->model = model;
    run->step = step;
    run->room = room;
    run->tokens = tokens;
    run->normed = memory;
    run->mixed = run->normed + width * tokens;
    run->qkv = run->mixed + width * tokens;
    run->hidden = run->qkv + stride * tokens;
    run->inputs = run->hidden + (size_t)model->hidden * tokens;
    run->low = run->inputs + inputs_size(widest) * tokens;
    run->added = run->low + rank * tokens;
    run->unpacked = run->low + low * tokens;
    run->scores = run->unpacked + unpacked * run->threads;
    return memory;
}

typedef struct {
    const Run *run;
    const TokenHeads *heads;
    const int64_t *codes;
} Start;

/* x of one token: what its codes stand for, on top of what is there, and the sines of its position. */
static void start_task(void *job, int task, int thread) {
    (void)thread;
    const Start *start = job;
    const TokenHeads *heads = start->heads;
    const int width = start->run->model->width, half = width / 2, t = start->run->first + task;
    const int64_t *codes = start->codes + (size_t)t * heads->codebooks;
    float *x = start->run->step->x + (size_t)t * width;
    for (int i = 0; i < width; i += VL) {
        vf total = load(heads->tables[0] + codes[0] * width + i);
        for (int k = 1; k < heads->codebooks; k++) total += load(heads->tables[k] + codes[k] * width + i);
        store(x + i, load(x + i) + total);
    }
    if (!heads->has_sines) return;
    const float position = (float)start->run->step->position[t];
    for (int i = 0; i < half; i++) {
        float phase = position / heads->periods[i];
        x[i] += heads->sines * cosf(phase);
        x[half + i] += heads->sines * sinf(phase);
    }
}

static void run_heads(const Run *run, const TokenHeads *heads, float *logits) {
    const int width = run->model->width, stride = heads->codebooks * heads->heads[0].rows;
    const float *x = run->step->x + (size_t)run->first * width;
    if (heads->has_norm) normalise(run->threads, run->model, heads->norm, x, run->tokens, run->normed);
    for (int k = 0; k < heads->codebooks; k++) {
        Product p = {.w = heads->heads + k, .x = heads->has_norm ? run->normed : x, .M = run->tokens, .ldy = stride,
                     .unpacked = run->unpacked};
        p.y = logits + (size_t)run->first * stride + (size_t)k * heads->heads[0].rows;
        product(run->threads, p, run->inputs);
    }
}

/* All layers for the tokens of `step`. Of each row, tokens come in order. With `heads`, also from codes [tokens,
 * codebooks], whose embeddings are added to x, to logits [tokens, codebooks, rows of a head]. */
int ac_forward(const Model *model, const StepInput *step, const TokenHeads *heads, const int64_t *codes, float *logits) {
    if (!model || !is_model(model, HAS_INT8_DOT)) return BAD_MODEL;
    const int found = step ? check_step(model, step) : BAD_STEP;
    if (found != OK) return found;
    if (heads && (!codes || !logits || !are_heads(model, heads, HAS_INT8_DOT))) return BAD_HEADS;
    for (int64_t i = 0; heads && i < (int64_t)step->tokens * heads->codebooks; i++)
        if (codes[i] < 0 || codes[i] >= heads->entries) return BAD_CODE;
    Run run = {.threads = open_pool(step->threads)};
    float *memory = plan(&run, model, step);
    const int at_once = run.tokens;
    for (; memory && run.first < step->tokens; run.first += run.tokens) {
        run.tokens = step->tokens - run.first < at_once ? step->tokens - run.first : at_once;
        Start start = {&run, heads, codes};
        if (heads) parallel(run.threads, run.tokens, start_task, &start);
        for (int index = 0; index < model->layers; index++) run_layer(&run, index);
        if (heads) run_heads(&run, heads, logits);
    }
    free(memory);
    close_pool(run.threads);
    return memory ? OK : NO_MEMORY;
}

/* y[tokens, rows] = x[tokens, cols] . w^T + bias. */
int ac_linear(const Matrix *w, const float *x, int32_t tokens, float *y, int32_t threads) {
    if (!w || !is_matrix(w, HAS_INT8_DOT)) return BAD_MATRIX;
    if (!x || !y || tokens < 0 || threads < 1) return BAD_CALL;
    const int at_once = tokens < AT_ONCE ? tokens : AT_ONCE;
    threads = open_pool(threads);
    const size_t quantised = is_int8_dot(w) ? inputs_size(w->cols) * at_once : 0;
    const size_t unpacked = w->kind == F32 || is_int8_dot(w) || at_once <= FEW ? 0 : unpacked_size(w->cols) * threads;
    float *inputs = scratch_floats(quantised + unpacked + 16);
    for (int32_t t = 0; inputs && t < tokens; t += AT_ONCE) {
        int count = tokens - t < AT_ONCE ? tokens - t : AT_ONCE;
        Product p = {.w = w, .x = x + (size_t)t * w->cols, .M = count, .y = y + (size_t)t * w->rows, .ldy = w->rows,
                     .unpacked = inputs + quantised};
        product(threads, p, inputs);
    }
    close_pool(threads);
    free(inputs);
    return inputs ? OK : NO_MEMORY;
}

/* Read `bytes` bytes from memory and do next to nothing with them: how fast weights can come. */
typedef struct {
    const uint8_t *data;
    int64_t bytes;
    _Atomic uint32_t sum;
} Reading;

enum { READ_AT_ONCE = 1 << 20 };

static void read_task(void *job, int task, int thread) {
    (void)thread;
    Reading *reading = job;
    int64_t from = (int64_t)task * READ_AT_ONCE, to = from + READ_AT_ONCE;
    vi a = {0}, b = {0}, c = {0}, d = {0};
    for (const uint8_t *p = reading->data + from, *end = reading->data + to; p < end; p += 4 * sizeof(vi)) {
        const vi *v = (const vi *)p;
        a ^= v[0], b ^= v[1], c ^= v[2], d ^= v[3];
    }
    a ^= b ^ c ^ d;
    uint32_t mixed = 0;
    for (int i = 0; i < VL; i++) mixed ^= (uint32_t)a[i];
    atomic_fetch_xor(&reading->sum, mixed);
}

/* `bytes` is a multiple of a megabyte. */
int ac_read(const void *data, int64_t bytes, int32_t threads) {
    if (!data || threads < 1 || bytes % READ_AT_ONCE || !is_within(bytes / READ_AT_ONCE, 0, INT32_MAX)) return BAD_CALL;
    Reading reading = {.data = data, .bytes = bytes};
    threads = open_pool(threads);
    parallel(threads, (int)(bytes / READ_AT_ONCE), read_task, &reading);
    close_pool(threads);
    return OK;
}

#include "codec.c"
#include "lstm.c"
#include "codes.c"
#include "sequences.c"
