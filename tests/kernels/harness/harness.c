/* Runs the kernels over cases in a file, which tests/kernels/cases.py writes with results in float64, and compares:
 *
 *     harness CASES
 *
 * Every case also runs with other threads, tiles and companions, which may change no bit, and once for each of its
 * allocations with that one failing, which must be answered and computed by nobody. No Python and no torch, so that it
 * runs under sanitizers, and under an emulator for processors that are not here. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef __AMX_INT8__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* ---------------------------------------------------------------- memory that runs out */

static int allocations_left = -1; /* all of them if negative */

static int counted_memalign(void **memory, size_t alignment, size_t size) {
    if (allocations_left == 0) return ENOMEM;
    if (allocations_left > 0) allocations_left--;
    return posix_memalign(memory, alignment, size);
}

#define posix_memalign counted_memalign
#include "kernels.c"
#undef posix_memalign

/* ---------------------------------------------------------------- the file of cases */

enum { MOST_ARGS = 64, MOST_ARRAYS = 512 };
enum { END, LINEAR, FORWARD, NETWORK, LSTM, CODES, ATTEND, FEED_FORWARD };

typedef struct {
    int op, args, arrays;
    int64_t arg[MOST_ARGS];
    int64_t bytes[MOST_ARRAYS];
    void *array[MOST_ARRAYS]; /* each in a block of exactly its size; NULL if it is empty */
} Case;

static const char *failure;
static double worst;
static int skipped;

static void *copied(const void *from, size_t bytes) {
    void *to = bytes ? malloc(bytes) : NULL;
    if (to) memcpy(to, from, bytes);
    return to;
}

static void read_exactly(void *to, size_t bytes, FILE *file) {
    if (bytes && fread(to, 1, bytes, file) != bytes) {
        fprintf(stderr, "the file of cases is cut off\n");
        exit(2);
    }
}

static void read_case(Case *c, FILE *file) {
    int32_t head[3];
    read_exactly(head, sizeof head, file);
    c->op = head[0], c->args = head[1], c->arrays = head[2];
    if (c->args > MOST_ARGS || c->arrays > MOST_ARRAYS) exit(2);
    read_exactly(c->arg, 8 * (size_t)c->args, file);
    for (int i = 0; i < c->arrays; i++) {
        read_exactly(c->bytes + i, 8, file);
        c->array[i] = c->bytes[i] ? malloc((size_t)c->bytes[i]) : NULL;
        read_exactly(c->array[i], (size_t)c->bytes[i], file);
    }
}

static void free_case(Case *c) {
    for (int i = 0; i < c->arrays; i++) free(c->array[i]);
}

/* Compare with float64, relative to the largest number that is expected. */
static void compare(const char *what, const float *made, const double *expected, size_t count, double tolerance) {
    double largest = 0, error = 0;
    for (size_t i = 0; i < count; i++) largest = fabs(expected[i]) > largest ? fabs(expected[i]) : largest;
    for (size_t i = 0; i < count; i++) {
        double off = fabs((double)made[i] - expected[i]);
        error = off > error || off != off ? off : error;
    }
    error /= largest > 0 ? largest : 1;
    if (error / tolerance > worst) worst = error / tolerance;
    if (!(error <= tolerance)) {
        fprintf(stderr, "%s: off by %.3g of the largest value, more than %.3g\n", what, error, tolerance);
        failure = what;
    }
}

static void same(const char *what, const void *a, const void *b, size_t bytes) {
    if (memcmp(a, b, bytes)) fprintf(stderr, "%s: a bit changed\n", what), failure = what;
}

static void answers(const char *what, int answer, int expected) {
    if (answer != expected) fprintf(stderr, "%s: answered %d, not %d\n", what, answer, expected), failure = what;
}

/* Run with the first, second, ... allocation failing until all succeed. */
#define WITHOUT_MEMORY(what, call)                                                        \
    for (int allowed = 0, answer = NO_MEMORY; answer == NO_MEMORY && allowed < 64; allowed++) { \
        allocations_left = allowed;                                                       \
        answer = (call);                                                                  \
        if (allocations_left == 0 && answer != NO_MEMORY && answer != OK) answers(what, answer, NO_MEMORY); \
        allocations_left = -1;                                                            \
    }

/* ---------------------------------------------------------------- products */

/* args: kind, rows, cols, tokens, tolerance, tolerance with quantised inputs (both in 1e-9).
 * arrays: weights, scales, bias, x, expected, expected with quantised inputs. */
static void run_linear(const Case *c) {
    const int rows = (int)c->arg[1], cols = (int)c->arg[2], tokens = (int)c->arg[3];
    const Matrix w = {(int)c->arg[0], rows, cols, c->array[0], c->array[1], c->array[2]};
    if (w.kind >= PANELS8 && !HAS_INT8_DOT) {
        skipped++;
        return;
    }
    const size_t bytes = (size_t)tokens * rows * sizeof(float);
    const float *x = c->array[3];
    float *y = malloc(bytes), *again = malloc(bytes);
    answers("linear", ac_linear(&w, x, tokens, y, 1), OK);
    const int quantised = is_int8_dot(&w);
    compare("linear", y, c->array[4 + quantised], (size_t)tokens * rows, (double)c->arg[4 + quantised] * 1e-9);
    answers("linear", ac_linear(&w, x, tokens, again, 3), OK);
    same("linear with three threads", y, again, bytes);
    for (int t = 0; t < tokens; t++) answers("linear", ac_linear(&w, x + (size_t)t * cols, 1, again + (size_t)t * rows, 1), OK);
    same("linear row by row", y, again, bytes);
    for (int t = 0; t < tokens; t += 3) {
        int count = tokens - t < 3 ? tokens - t : 3;
        answers("linear", ac_linear(&w, x + (size_t)t * cols, count, again + (size_t)t * rows, 1), OK);
    }
    same("linear by threes", y, again, bytes);
    WITHOUT_MEMORY("linear", ac_linear(&w, x, tokens, again, 1))
    free(y), free(again);
}

/* ---------------------------------------------------------------- transformers */

typedef struct {
    Model model;
    StepInput step;
    TokenHeads heads;
    int kind, rows, capacity, source_length;
    const int64_t *codes;
} Setup;

static Matrix plain(void *data, void *bias, int rows, int cols) { return (Matrix){F32, rows, cols, data, NULL, bias}; }

/* Empty caches for all layers, [layers, 1]. */
static KVView *make_views(const Setup *s, void **memory) {
    const int dim = s->model.head_dim, heads = s->model.kv_heads;
    const int wide = s->kind == I8 ? dim + 4 : dim, size = s->kind == F32 ? 4 : s->kind == F16 ? 2 : 1;
    const size_t one = (size_t)s->rows * heads * s->capacity * wide * size;
    KVView *views = calloc((size_t)s->model.layers, sizeof *views);
    for (int i = 0; i < s->model.layers; i++) {
        memory[2 * i] = calloc(1, one), memory[2 * i + 1] = calloc(1, one);
        views[i] = (KVView){memory[2 * i], memory[2 * i + 1], (int64_t)heads * s->capacity * wide,
                            (int64_t)s->capacity * wide, wide, s->rows, s->capacity, s->kind};
    }
    return views;
}

/* Logits [tokens, K, V]: all tokens at once, or one position of all rows after the other. */
static int forward(Setup *s, const float *x, size_t x_bytes, int one_by_one, float *logits) {
    void *memory[2 * 16];
    KVView *views = make_views(s, memory);
    StepInput step = s->step;
    float *own = copied(x, x_bytes);
    step.past = views, step.x = own;
    const int width = s->model.width, half = s->model.head_dim, out = s->heads.codebooks * s->heads.heads[0].rows;
    int answer = OK;
    for (int t = 0; t < step.tokens && answer == OK; t += one_by_one ? 1 : step.tokens) {
        StepInput part = step;
        part.tokens = one_by_one ? 1 : step.tokens;
        part.part += t, part.row += t, part.position += t, part.x += (size_t)t * width;
        if (part.rotate_q) part.rotate_q += (size_t)t * half, part.rotate_k += (size_t)t * half;
        answer = ac_forward(&s->model, &part, &s->heads, s->codes + (size_t)t * s->heads.codebooks, logits + (size_t)t * out);
    }
    for (int i = 0; i < 2 * s->model.layers; i++) free(memory[i]);
    free(views), free(own);
    return answer;
}

/* args: layers, width, heads, kv_heads, hidden, activation, crosses, past_context, codebooks, entries, cards, has_sines,
 * kind of the cache, rows, capacity, source_length, tokens, tolerance (1e-9), sines (1e-9).
 * arrays: 18 per layer (norms, then matrices with biases), then keys and values of the source [layers, rows, heads, L, dim],
 * row, position, rotate_q, rotate_k, x, tables, periods, norm weight and bias, heads, codes, expected. */
static void run_forward(const Case *c) {
    const int64_t *g = c->arg;
    const int layers = (int)g[0], width = (int)g[1], hidden = (int)g[4], crosses = (int)g[6];
    const int codebooks = (int)g[8], entries = (int)g[9], cards = (int)g[10], tokens = (int)g[16];
    Setup s = {.kind = (int)g[12], .rows = (int)g[13], .capacity = (int)g[14], .source_length = (int)g[15]};
    const int dim = width / (int)g[2], kv = dim * (int)g[3];
    if (dim % VL) {
        skipped++;
        return;
    }
    Layer *layer = calloc((size_t)layers, sizeof *layer);
    for (int i = 0; i < layers; i++) {
        void **a = (void **)c->array + 18 * i;
        layer[i] = (Layer){{a[0], a[1]}, {a[2], a[3]}, {a[4], a[5]},
                           plain(a[6], a[7], width + 2 * kv, width), plain(a[8], a[9], width, width),
                           plain(a[10], a[11], width, width), plain(a[12], a[13], width, width),
                           plain(a[14], a[15], hidden, width), plain(a[16], a[17], width, hidden)};
    }
    s.model = (Model){layers, width, (int)g[2], (int)g[3], dim, hidden, (int)g[5], crosses, (int)g[7], 1e-5f, layer};
    void *const *a = c->array + 18 * layers;
    KVView *source = calloc((size_t)layers, sizeof *source);
    const size_t one = (size_t)s.rows * (size_t)g[2] * s.source_length * dim;
    for (int i = 0; i < layers && crosses; i++)
        source[i] = (KVView){(float *)a[0] + i * one, (float *)a[1] + i * one, g[2] * s.source_length * dim,
                             (int64_t)s.source_length * dim, dim, s.rows, s.source_length, F32};
    int64_t *part = calloc((size_t)tokens, 8);
    const float **tables = calloc((size_t)codebooks, sizeof *tables);
    Matrix *heads = calloc((size_t)codebooks, sizeof *heads);
    for (int k = 0; k < codebooks; k++) {
        tables[k] = (float *)a[7] + (size_t)k * entries * width;
        heads[k] = plain((float *)a[11] + (size_t)k * cards * width, NULL, cards, width);
    }
    s.heads = (TokenHeads){codebooks, entries, (int)g[11], a[9] != NULL, (float)((double)g[18] * 1e-9), a[8], tables,
                           {a[9], a[10]}, heads};
    s.codes = a[12];
    s.step = (StepInput){tokens, 1, 1, part, a[2], a[3], a[4], a[5], NULL, crosses ? source : NULL, NULL, NULL};
    const size_t count = (size_t)tokens * codebooks * cards;
    float *logits = malloc(count * 4), *again = malloc(count * 4);
    const size_t x_bytes = (size_t)tokens * width * 4;
    answers("forward", forward(&s, a[6], x_bytes, 0, logits), OK);
    compare("forward", logits, a[13], count, (double)g[17] * 1e-9);
    answers("forward", forward(&s, a[6], x_bytes, 1, again), OK);
    same("forward step by step", logits, again, count * 4);
    s.step.threads = 3;
    answers("forward", forward(&s, a[6], x_bytes, 0, again), OK);
    same("forward with three threads", logits, again, count * 4);
    WITHOUT_MEMORY("forward", forward(&s, a[6], x_bytes, 0, again))
    free(layer), free(source), free(part), free(tables), free(heads), free(logits), free(again);
}

/* ---------------------------------------------------------------- codecs */

/* A weight [inputs, columns] in panels of NR columns, and its bias; both filled up with zeros. */
static float *packed(const float *weight, const float *bias, int inputs, int columns, float **end) {
    const int panels = (columns + NR - 1) / NR;
    float *made = calloc((size_t)panels * NR * (inputs + 1), 4);
    for (int p = 0; p < panels; p++)
        for (int k = 0; k < inputs; k++)
            for (int j = 0; j < NR && p * NR + j < columns; j++)
                made[((size_t)p * inputs + k) * NR + j] = weight[(size_t)k * columns + p * NR + j];
    *end = made + (size_t)panels * NR * inputs;
    memcpy(*end, bias, 4 * (size_t)columns);
    return made;
}

/* args: signals, steps, groups, length, rows of the output, tolerance (1e-9). arrays: signals, steps without their
 * addresses, groups, x, expected, then weight and bias of each step. */
static void run_network(const Case *c) {
    const int signals = (int)c->arg[0], steps = (int)c->arg[1], groups = (int)c->arg[2];
    const int64_t length = c->arg[3], rows = c->arg[4];
    const double tolerance = (double)c->arg[5] * 1e-9;
    Step *step = calloc((size_t)steps, sizeof *step);
    void **owned = calloc((size_t)steps, sizeof *owned);
    for (int i = 0; i < steps; i++) {
        memcpy(step + i, (int32_t *)c->array[1] + 14 * i, 14 * 4);
        const float *weight = c->array[5 + 2 * i], *bias = c->array[6 + 2 * i];
        step[i].weight = weight, step[i].bias = bias;
        if (step[i].narrow) continue;
        float *end;
        owned[i] = packed(weight, bias, step[i].taps * step[i].inner, step[i].columns, &end);
        step[i].weight = owned[i], step[i].bias = end;
    }
    const Network net = {signals, steps, groups, c->array[0], step, c->array[2]};
    const size_t count = (size_t)rows * net.signal[signals - 1].channels, bytes = count * 4;
    const int64_t wide = net.signal[0].channels;
    float *out = malloc(bytes), *again = malloc(bytes), *x = c->array[3];
    RowSpan span = {x, out, 0, length, 0, rows};
    answers("network", ac_network(&net, &span, rows, 1), OK);
    compare("network", out, c->array[4], count, tolerance);
    span.out = again;
    answers("network", ac_network(&net, &span, 7, 3), OK);
    same("network by sevens, with three threads", out, again, bytes);
    FusedSteps alone[MOST_SIGNALS], together = {0, steps, 5, 1};
    for (int i = 0; i < steps; i++) alone[i] = (FusedSteps){i, i + 1, 3, 1};
    Network other = net;
    other.groups = steps, other.group = alone;
    answers("network", ac_network(&other, &span, rows, 1), OK);
    same("network step by step", out, again, bytes);
    other.groups = 1, other.group = &together;
    answers("network", ac_network(&other, &span, rows, 2), OK);
    same("network in small tiles", out, again, bytes);
    answers("networks", ac_networks(&other, x, length, again, 1, 2), OK);
    same("networks", out, again, bytes);
    /* the second half of the output from no more of the input than it needs, in a block of exactly that size */
    RowRange needed;
    answers("network_needs", ac_network_needs(&net, length, rows / 2, rows, &needed), OK);
    float *piece = copied(x + needed.low * wide, (size_t)((length - needed.low) * wide * 4));
    const size_t skip = (size_t)(rows / 2) * net.signal[signals - 1].channels;
    RowSpan half = {piece, again + skip, needed.low, length, rows / 2, rows};
    answers("network", ac_network(&net, &half, 11, 1), OK);
    same("network from a piece", out + skip, again + skip, bytes - 4 * skip);
    WITHOUT_MEMORY("network", ac_network(&net, &span, 9, 1))
    WITHOUT_MEMORY("networks", ac_networks(&other, x, length, again, 1, 1))
    for (int i = 0; i < steps; i++) free(owned[i]);
    free(step), free(owned), free(out), free(again), free(piece);
}

/* args: width, input, steps, rows, tolerance (1e-9). arrays: w_in, w_back, bias, x, hidden, cell, expected. */
static void run_lstm(const Case *c) {
    const int width = (int)c->arg[0];
    uint8_t *back = malloc((size_t)ac_lstm_room(width));
    answers("packing an lstm", ac_lstm_pack(width, c->array[1], back), OK);
    answers("packing half a unit", ac_lstm_pack(width - 1, c->array[1], back), BAD_LSTM);
    const Lstm lstm = {width, (int)c->arg[1], c->array[0], c->array[2], back};
    const int steps = (int)c->arg[2], rows = (int)c->arg[3];
    const size_t state = (size_t)rows * lstm.width * 4, count = (size_t)steps * rows * lstm.width;
    float *out = malloc(count * 4), *again = malloc(count * 4);
    for (int round = 0; round < 2; round++) {
        float *hidden = copied(c->array[4], state), *cell = copied(c->array[5], state), *to = round ? again : out;
        answers("lstm", ac_lstm(&lstm, c->array[3], hidden, cell, to, steps, rows, round ? 3 : 1), OK);
        if (steps) same("lstm, the state after it", hidden, to + (size_t)(steps - 1) * rows * lstm.width, state);
        WITHOUT_MEMORY("lstm", ac_lstm(&lstm, c->array[3], hidden, cell, again, 0, rows, 1))
        free(hidden), free(cell);
    }
    compare("lstm", out, c->array[6], count, (double)c->arg[4] * 1e-9);
    same("lstm with three threads", out, again, count * 4);
    free(out), free(again), free(back);
}

/* ---------------------------------------------------------------- codes of files */

/* Whole numbers, so that nothing may differ. Bytes that are cut off or too many are answered. */
static void run_codes(Case *c) {
    const SymbolTables t = {(int)c->arg[0], (int)c->arg[1], (int)c->arg[2], (int)c->arg[3], (int)c->arg[4],
                            c->array[0], c->array[1], c->array[2], c->array[3], c->array[4], c->array[5], c->array[6]};
    const int context = (int)c->arg[5], streams = (int)c->arg[6], books = (int)c->arg[7], frames = (int)c->arg[8];
    const size_t count = (size_t)streams * books * frames;
    const int64_t size = c->bytes[7];
    int32_t *out = calloc(count, 4);
    uint8_t *longer = calloc(1, (size_t)size + 1);
    memcpy(longer, c->array[7], (size_t)size);
    answers("codes", ac_read_codes(&t, c->array[7], size, context, streams, books, frames, 1, out), OK);
    same("codes", out, c->array[8], count * 4);
    answers("codes that are cut off", ac_read_codes(&t, c->array[7], size - 1, context, streams, books, frames, 1, out),
            ENDS_EARLY);
    answers("codes and more", ac_read_codes(&t, longer, size + 1, context, streams, books, frames, 1, out), ENDS_LATE);
    memset(out, 0, count * 4);
    answers("the first of the codes", ac_read_codes(&t, longer, size + 1, context, streams, books, frames / 2, 0, out), OK);
    same("the first of the codes", out, c->array[8], (size_t)streams * books * (frames / 2) * 4);
    for (int i = 0; i < 50; i++) {
        for (int64_t k = 0; k < size; k++) longer[k] = (uint8_t)(longer[k] * 29 + 7 * k + i);
        if (ac_read_codes(&t, longer, size, context, streams, books, frames, 1, out) > 0) failure = "bytes of nobody";
    }
    WITHOUT_MEMORY("codes", ac_read_codes(&t, c->array[7], size, context, streams, books, frames, 1, out))
    free(out), free(longer);
}

/* ---------------------------------------------------------------- whole sequences */

/* args: rows, heads, repeat, steps, length, dim, context, shared, tolerance. arrays: queries, keys, values [rows, heads,
 * steps, dim], expected [rows, steps, heads, dim]. */
static void run_attend(const Case *c) {
    const int64_t *n = c->arg, dim = n[5], steps = n[3], length = n[4];
    if (dim % VL) {
        skipped++;
        return;
    }
    const size_t count = (size_t)(n[0] * n[1] * steps * dim);
    float *out = malloc(4 * count), *again = malloc(4 * count);
    Attended a = {c->array[0], c->array[1], c->array[2], out, n[0], n[1], n[2], steps, length, dim,
                  n[1] * steps * dim, steps * dim, dim, n[1] / n[2] * length * dim, length * dim, dim,
                  n[1] / n[2] * length * dim, length * dim, dim, n[6], n[7]};
    answers("attend", ac_attend(&a, 1), OK);
    compare("attend", out, c->array[3], count, (double)n[8] * 1e-9);
    a.out = again;
    answers("attend", ac_attend(&a, 3), OK);
    same("attend with three threads", out, again, 4 * count);
    a.rows = 1;
    for (int64_t row = 0; row < n[0]; row++, a.query += a.query_row, a.key += a.key_row, a.value += a.value_row) {
        answers("attend", ac_attend(&a, 1), OK);
        a.out += steps * n[1] * dim;
    }
    same("attend row by row", out, again, 4 * count);
    a = (Attended){.query = out, .key = out, .value = out, .out = again, .rows = 1, .heads = 1, .repeat = 1, .steps = 1,
                   .length = 1, .dim = dim, .context = -1};
    WITHOUT_MEMORY("attend", ac_attend(&a, 1))
    free(out), free(again);
}

/* args: rows between, cols, kind, tokens, tolerance. arrays: weights and scales of both, biases, x, expected. What is in
 * between is what `ac_linear` makes of it. */
static void run_feed_forward(const Case *c) {
    const int hidden = (int)c->arg[0], cols = (int)c->arg[1], kind = (int)c->arg[2], tokens = (int)c->arg[3];
    const Matrix up = {kind, hidden, cols, c->array[0], c->array[1], c->array[4]};
    const Matrix down = {kind, cols, hidden, c->array[2], c->array[3], c->array[5]};
    const size_t bytes = 4 * (size_t)tokens * cols;
    const float *x = c->array[6];
    float *y = malloc(bytes), *again = malloc(bytes), *between = malloc(4 * (size_t)tokens * hidden);
    answers("feed forward", ac_feed_forward(&up, &down, x, tokens, RELU, y, 1), OK);
    answers("linear", ac_linear(&up, x, tokens, between, 1), OK);
    for (int i = 0; i < tokens * hidden; i++) between[i] = between[i] > 0 ? between[i] : 0;
    answers("linear", ac_linear(&down, between, tokens, again, 1), OK);
    same("feed forward in two steps", y, again, bytes);
    if (!is_int8_dot(&up)) compare("feed forward", y, c->array[7], (size_t)tokens * cols, (double)c->arg[4] * 1e-9);
    answers("feed forward", ac_feed_forward(&up, &down, x, tokens, GELU, y, 1), OK);
    answers("feed forward", ac_feed_forward(&up, &down, x, tokens, GELU, again, 3), OK);
    same("feed forward with three threads", y, again, bytes);
    for (int t = 0; t < tokens; t++)
        answers("feed forward", ac_feed_forward(&up, &down, x + (size_t)t * cols, 1, GELU, again + (size_t)t * cols, 1), OK);
    same("feed forward row by row", y, again, bytes);
    WITHOUT_MEMORY("feed forward", ac_feed_forward(&up, &down, x, tokens, GELU, again, 1))
    free(y), free(again), free(between);
}

/* ---------------------------------------------------------------- what is refused */

static void run_refusals(void) {
    float some[64] = {0};
    const Matrix huge = {I8, 1 << 30, 1 << 30, some, (const uint16_t *)some, NULL}, odd = {F32, 4, VL + 1, some, NULL, NULL};
    answers("a matrix of any size", ac_linear(&huge, some, 1, some, 1), BAD_MATRIX);
    answers("a matrix that fills no vector", ac_linear(&odd, some, 1, some, 1), BAD_MATRIX);
    answers("no matrix", ac_linear(NULL, some, 1, some, 1), BAD_MATRIX);
    answers("no layers between", ac_feed_forward(&odd, &odd, some, 1, GELU, some, 1), BAD_MATRIX);
    Attended some_heads = {some, some, some, some, 1, 1, 1, 1, 1, VL, .context = -1};
    answers("attention", ac_attend(&some_heads, 1), OK);
    some_heads.repeat = 2;
    answers("heads that cannot be shared", ac_attend(&some_heads, 1), BAD_CALL);
    some_heads = (Attended){some, some, some, some, 1, 1, 1, 1, 2, VL, .context = 3};
    answers("what is near in another sequence", ac_attend(&some_heads, 1), BAD_CALL);
    answers("no model", ac_forward(NULL, NULL, NULL, NULL, NULL), BAD_MODEL);
    const Network none = {0};
    const RowSpan span = {some, some, 0, 1, 0, 1};
    answers("no layers", ac_network(&none, &span, 1, 1), BAD_NETWORK);
    answers("no network", ac_networks(NULL, some, 1, some, 1, 1), BAD_NETWORK);
    const Lstm lstm = {1 << 20, 1 << 20, some, some, some};
    answers("an LSTM of any size", ac_lstm(&lstm, some, some, some, some, 1, 1, 1), BAD_LSTM);
    const SymbolTables tables = {1, 1 << 20, 0, 0, 0, (const int32_t *)some, NULL, NULL, NULL, NULL, NULL, NULL};
    answers("tables of any size", ac_read_codes(&tables, (const uint8_t *)some, 9, 0, 1, 1, 1, 1, (int32_t *)some), BAD_TABLES);
    answers("reading nothing", ac_read(NULL, 0, 1), BAD_CALL);
    if (ac_size_of(-1) || ac_size_of(1000) || ac_size_of(0) != (int)sizeof(Matrix)) failure = "sizes";
}

int main(int count, char **names) {
    FILE *file = count == 2 ? fopen(names[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, "usage: harness CASES\n");
        return 2;
    }
#if defined(__AMX_INT8__) && !defined(EMULATED_TILES)
    if (syscall(SYS_arch_prctl, 0x1023, 18)) { /* as `build.features` asks for tiles */
        fprintf(stderr, "the system allows no tiles\n");
        return 2;
    }
#endif
    static Case c;
    int cases = 0, failed = 0;
    run_refusals();
    failed += failure != NULL;
    for (;; cases++) {
        read_case(&c, file);
        failure = NULL;
        if (c.op == END) break;
        if (c.op == LINEAR) run_linear(&c);
        if (c.op == FORWARD) run_forward(&c);
        if (c.op == NETWORK) run_network(&c);
        if (c.op == LSTM) run_lstm(&c);
        if (c.op == CODES) run_codes(&c);
        if (c.op == ATTEND) run_attend(&c);
        if (c.op == FEED_FORWARD) run_feed_forward(&c);
        if (failure) {
            failed++;
            fprintf(stderr, "case %d of kind %d:", cases, c.op);
            for (int i = 0; i < c.args; i++) fprintf(stderr, " %lld", (long long)c.arg[i]);
            fprintf(stderr, "\n");
        }
        free_case(&c);
    }
    fclose(file);
    printf("lanes %d, %s inputs: %d cases, %d not for this level, %d failed, worst %.2f of its tolerance\n", VL,
           HAS_INT8_DOT ? "quantised" : "float", cases, skipped, failed, worst);
    return failed ? 1 : 0;
}
