/* Convolutional codecs: chains of convolutions, transposed convolutions and residual blocks.
 * kernels.c includes this file; lstm.c has the LSTM between them.
 *
 * Signals are rows of channels, [time, channels]. A window of a convolution is then a run of floats, and so is a frame of
 * a transposed convolution: both are products of overlapping rows with a matrix. Time is worked through in tiles, small
 * enough that what a layer makes is still in the cache when the next layer reads it; what tiles need of their neighbours
 * is computed twice. Every number is one sum in one fixed order, so tiles and threads change no bit of it. */

#pragma once

#include <string.h>

#include "checks.h"
#include "pool.h"
#include "products.h"
#include "structs.h"
#include "vectors.h"

/* ---------------------------------------------------------------- products of rows that overlap */

#define NR (2 * VL)
#if VL == 16
#define MR 12
#else
#define MR 6
#endif

typedef struct {
    float *raw, *active;
    const float *add;
    int64_t ld;
    int kind; /* of the activation */
} Out;

/* One of the two terms is zero, so their sum is exact; what is no number remains none. */
INLINE vf elu(vf x) {
    const vf zero = splat(0.0f);
    return max_(zero, x) + (exp_near(max_(splat(-87.0f), min_(zero, x))) - splat(1.0f));
}

INLINE vf activated(int kind, vf x) { return kind == WITH_GELU ? gelu(x) : elu(x); }

INLINE void put(Out out, int64_t at, vf value) {
    if (out.add) value += load(out.add + at);
    if (out.raw) store(out.raw + at, value);
    if (out.active) store(out.active + at, activated(out.kind, value));
}

/* M rows, `step` floats apart at `a`, times one panel; M is a constant where this is inlined. */
INLINE void block(const int M, const Step *s, const float *a, int64_t step, int64_t hop, const float *w,
                  const float *bias, Out out, int columns) {
    vf acc[MR][2];
    for (int m = 0; m < M; m++) acc[m][0] = load(bias), acc[m][1] = load(bias + VL);
    for (int tap = 0; tap < s->taps; tap++, a += hop) {
        const float *row[(MR + 2) / 3];
        for (int i = 0; i < (M + 2) / 3; i++) row[i] = a + 3 * i * step;
        for (int k = 0; k < s->inner; k++, w += NR) {
            vf w0 = load(w), w1 = load(w + VL);
            for (int m = 0; m < M; m++) {
                vf x = splat(row[m / 3][(m % 3) * step + k]);
                acc[m][0] = fma_(x, w0, acc[m][0]);
                acc[m][1] = fma_(x, w1, acc[m][1]);
            }
        }
    }
    if (columns == NR) {
        for (int m = 0; m < M; m++) put(out, m * out.ld, acc[m][0]), put(out, m * out.ld + VL, acc[m][1]);
        return;
    }
    for (int m = 0; m < M; m++) { /* the last panel is not full */
        float made[NR] = {0}, active[NR];
        store(made, acc[m][0]), store(made + VL, acc[m][1]);
        for (int i = 0; i < columns && out.add; i++) made[i] += out.add[m * out.ld + i];
        store(active, activated(out.kind, load(made))), store(active + VL, activated(out.kind, load(made + VL)));
        if (out.raw) memcpy(out.raw + m * out.ld, made, columns * sizeof(float));
        if (out.active) memcpy(out.active + m * out.ld, active, columns * sizeof(float));
    }
}

INLINE Out moved(Out out, int64_t by) {
    return (Out){out.raw ? out.raw + by : NULL, out.active ? out.active + by : NULL, out.add ? out.add + by : NULL,
                 out.ld, out.kind};
}

/* `rows` rows times one panel. */
static void panel(const Step *s, const float *a, int64_t step, int64_t hop, int64_t rows, const float *w,
                  const float *bias, Out out, int columns) {
#define ROWS(M)                                                          \
    for (; rows >= M; rows -= M, a += M * step, out = moved(out, M * out.ld)) \
        block(M, s, a, step, hop, w, bias, out, columns);
    ROWS(MR)
#if VL == 16
    ROWS(6)
#endif
    ROWS(3)
    ROWS(1)
#undef ROWS
}

/* Few columns: each is a product of a window with a row of weights. */
static void narrow(const Step *s, const float *a, int64_t step, int64_t rows, Out out) {
    for (int c = 0; c < s->columns; c++) {
        const float *w = s->weight + (size_t)c * s->inner;
        for (int64_t r = 0; r < rows; r += 4) {
            const float *at[4];
            vf acc[4] = {{0}};
            for (int i = 0; i < 4; i++) at[i] = a + (r + i < rows ? r + i : rows - 1) * step;
            int k = 0;
            for (; k + VL <= s->inner; k += VL) {
                vf value = load(w + k);
                for (int i = 0; i < 4; i++) acc[i] = fma_(load(at[i] + k), value, acc[i]);
            }
            v4 made = sum4(acc[0], acc[1], acc[2], acc[3]);
            for (; k < s->inner; k++)
                for (int i = 0; i < 4; i++) made[i] += at[i][k] * w[k];
            float some[VL] = {0}, active[VL];
            for (int i = 0; i < 4; i++) some[i] = made[i] + s->bias[c];
            if (out.active) store(active, activated(out.kind, load(some)));
            for (int i = 0; i < 4 && r + i < rows; i++) {
                if (out.raw) out.raw[(r + i) * out.ld + c] = some[i];
                if (out.active) out.active[(r + i) * out.ld + c] = active[i];
            }
        }
    }
}

/* ---------------------------------------------------------------- which rows */

typedef struct {
    int64_t low, high; /* none, if high is not above low */
} RowRange;

/* Rows of a signal in memory. */
typedef struct {
    float *plane[PLANES];
    RowRange rows;
} Place;

INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

INLINE void join(RowRange *range, int64_t low, int64_t high) {
    int none = range->high <= range->low;
    if (none || low < range->low) range->low = low;
    if (none || high > range->high) range->high = high;
}

INLINE RowRange inside(RowRange range, int64_t length) {
    return (RowRange){range.low > 0 ? range.low : 0, range.high < length ? range.high : length};
}

/* The rows of the product that make these rows of the target. */
INLINE RowRange product_rows(const Step *s, RowRange made) {
    return (RowRange){floor_div(made.low + s->trim, s->up), floor_div(made.high + s->trim + s->up - 1, s->up)};
}

static int64_t rows_after(const Step *s, int64_t length) {
    return s->up > 1 ? length * s->up : (length + s->stride - 1) / s->stride;
}

/* From the rows that are wanted of what `last` makes, those of all signals before it, ends included. */
static void trace(const Network *net, const int64_t *length, int first, int last, RowRange *want) {
    for (int i = last - 1; i >= first; i--) {
        const Step *s = net->step + i;
        RowRange made = inside(want[s->target], length[s->target]), r = product_rows(s, made);
        if (made.high <= made.low) continue;
        if (s->up > 1) join(&want[s->target], r.low * s->up - s->trim, r.high * s->up - s->trim);
        int64_t low = r.low * s->stride - s->left, high = (r.high - 1) * s->stride - s->left + s->span;
        join(&want[s->source], low, high);
        if (net->signal[s->source].pad == REFLECT) {
            if (low < 0) join(&want[s->source], low, 1 - low);
            if (high > length[s->source]) join(&want[s->source], 2 * length[s->source] - 1 - high, high);
        }
        if (s->add >= 0) join(&want[s->add], made.low, made.high);
    }
}

/* Rows low ... high - 1, which lie beyond the ends of a signal. */
static void fill(const Signal *signal, const Place *place, int64_t length, int64_t low, int64_t high) {
    const int64_t first = place->rows.low, wide = signal->channels;
    for (int p = 0; p < PLANES; p++)
        for (int64_t i = low; place->plane[p] && i < high; i++) {
            int64_t from = i < 0 ? -i : 2 * (length - 1) - i;
            float *to = place->plane[p] + (i - first) * wide;
            if (signal->pad == REFLECT && from >= first && from < place->rows.high)
                memcpy(to, place->plane[p] + (from - first) * wide, wide * sizeof(float));
            else
                memset(to, 0, wide * sizeof(float));
        }
}

static void fill_ends(const Signal *signal, const Place *place, int64_t length) {
    RowRange rows = place->rows;
    fill(signal, place, length, rows.low, rows.high < 0 ? rows.high : 0);
    fill(signal, place, length, rows.low > length ? rows.low : length, rows.high);
}

INLINE size_t plane_floats(const Signal *signal, RowRange rows) {
    size_t one = ((size_t)(rows.high - rows.low) * signal->channels + 15) / 16 * 16 + 16;
    return one * ((signal->raw != 0) + (signal->active != 0));
}

static float *lay_out(const Signal *signal, RowRange rows, float *memory, Place *place) {
    size_t one = plane_floats(signal, rows) / ((signal->raw != 0) + (signal->active != 0));
    place->rows = rows;
    place->plane[RAW] = signal->raw ? memory : NULL;
    memory += signal->raw ? one : 0;
    place->plane[ACTIVE] = signal->active ? memory : NULL;
    return memory + (signal->active ? one : 0);
}

typedef struct {
    float *memory;
    size_t room;
} Arena;

/* At least `room` floats, contents lost; 0 where there are none. */
static int arena_holds(Arena *arena, size_t room) {
    if (arena->room >= room) return 1;
    free(arena->memory);
    arena->memory = scratch_floats(room);
    arena->room = arena->memory ? room : 0;
    return arena->memory != NULL;
}

/* ---------------------------------------------------------------- one piece of a network */

typedef struct {
    const Network *net;
    const FusedSteps *group;
    const Place *place;
    const int64_t *length;
    Arena *arena;
    RowRange rows; /* of the product, for a step alone; else of what the group makes */
    int splits;
    _Atomic int failed;
} Piece;

static void run_step(const Network *net, const Step *s, const Place *place, RowRange rows, int first, int last) {
    const Place *from = place + s->source, *to = place + s->target;
    const int64_t wide = net->signal[s->source].channels, made = net->signal[s->target].channels;
    const int64_t offset = rows.low * s->up - s->trim, count = rows.high - rows.low;
    const int64_t at = (offset - to->rows.low) * made;
    const float *a = from->plane[s->reads] + (rows.low * s->stride - s->left - from->rows.low) * wide;
    Out out = {NULL, NULL, NULL, s->up * made, net->signal[s->target].active};
    if (to->plane[RAW]) out.raw = to->plane[RAW] + at;
    if (to->plane[ACTIVE]) out.active = to->plane[ACTIVE] + at;
    if (s->add >= 0) out.add = place[s->add].plane[RAW] + (offset - place[s->add].rows.low) * made;
    if (s->narrow) {
        narrow(s, a, s->stride * wide, count, out);
        return;
    }
    const size_t size = (size_t)s->taps * s->inner * NR;
    for (int p = first; p < last; p++) {
        int columns = s->columns - p * NR < NR ? s->columns - p * NR : NR;
        panel(s, a, s->stride * wide, s->hop * wide, count, s->weight + p * size, s->bias + p * NR,
              moved(out, p * NR), columns);
    }
}

INLINE int panels_of(const Step *s) { return s->narrow ? 1 : (s->columns + NR - 1) / NR; }

static void alone_task(void *job, int task, int thread) {
    (void)thread;
    Piece *piece = job;
    const Step *s = piece->net->step + piece->group->first;
    int64_t low = piece->rows.low + (int64_t)(task / piece->splits) * piece->group->rows;
    int64_t high = low + piece->group->rows;
    int first = task % piece->splits * piece->group->panels, last = first + piece->group->panels;
    RowRange rows = {low, high < piece->rows.high ? high : piece->rows.high};
    run_step(piece->net, s, piece->place, rows, first, last < panels_of(s) ? last : panels_of(s));
}

static void tile_task(void *job, int task, int thread) {
    Piece *piece = job;
    const Network *net = piece->net;
    const FusedSteps *group = piece->group;
    RowRange want[MOST_SIGNALS] = {{0}};
    Place place[MOST_SIGNALS];
    const int made = net->step[group->last - 1].target;
    int64_t low = piece->rows.low + (int64_t)task * group->rows, high = low + group->rows;
    want[made] = (RowRange){low, high < piece->rows.high ? high : piece->rows.high};
    trace(net, piece->length, group->first, group->last, want);
    memcpy(place, piece->place, net->signals * sizeof(Place));
    size_t room = 0;
    for (int i = group->first; i < group->last - 1; i++)
        room += plane_floats(net->signal + net->step[i].target, want[net->step[i].target]);
    if (!arena_holds(piece->arena + thread, room)) {
        atomic_store(&piece->failed, NO_MEMORY);
        return;
    }
    float *memory = piece->arena[thread].memory;
    for (int i = group->first; i < group->last; i++) {
        const Step *s = net->step + i;
        const int target = s->target;
        if (target != made) memory = lay_out(net->signal + target, want[target], memory, place + target);
        RowRange rows = product_rows(s, inside(want[target], piece->length[target]));
        run_step(net, s, place, rows, 0, panels_of(s));
        if (target != made) fill_ends(net->signal + target, place + target, piece->length[target]);
    }
}

static int run_group(Piece piece, const RowRange *want, int threads) {
    const FusedSteps *group = piece.group;
    const Step *last = piece.net->step + group->last - 1;
    const int alone = group->last - group->first == 1;
    piece.rows = inside(want[last->target], piece.length[last->target]);
    piece.splits = 1;
    if (alone) {
        piece.rows = product_rows(last, piece.rows);
        piece.splits = (panels_of(last) + group->panels - 1) / group->panels;
    }
    int64_t tiles = (piece.rows.high - piece.rows.low + group->rows - 1) / group->rows;
    if (tiles > INT32_MAX / piece.splits) return BAD_SPAN;
    parallel(threads, (int)tiles * piece.splits, alone ? alone_task : tile_task, &piece);
    fill_ends(piece.net->signal + last->target, piece.place + last->target, piece.length[last->target]);
    return atomic_load(&piece.failed);
}

static void take_input(const Signal *signal, const float *x, int64_t first, int64_t length, Place *place) {
    const int64_t wide = signal->channels;
    RowRange rows = inside(place->rows, length);
    const size_t count = (rows.high - rows.low) * wide, skip = (rows.low - place->rows.low) * wide;
    x += (rows.low - first) * wide;
    if (signal->raw) memcpy(place->plane[RAW] + skip, x, count * sizeof(float));
    for (size_t i = 0; i < count && signal->active; i += VL) {
        float some[VL] = {0};
        size_t here = count - i < VL ? count - i : VL;
        memcpy(some, x + i, here * sizeof(float));
        store(some, activated(signal->active, load(some)));
        memcpy(place->plane[ACTIVE] + skip + i, some, here * sizeof(float));
    }
    fill_ends(signal, place, length);
}

/* The first arena of `threads` + 1 is for what all threads share. */
static int run_span(const Network *net, const int64_t *length, RowSpan span, Arena *arenas, int threads) {
    RowRange want[MOST_SIGNALS] = {{0}};
    Place place[MOST_SIGNALS] = {{{NULL, NULL}, {0, 0}}};
    char kept[MOST_SIGNALS] = {1};
    const int last = net->signals - 1;
    want[last] = (RowRange){span.low, span.high};
    trace(net, length, 0, net->steps, want);
    if (span.low < span.high && inside(want[0], length[0]).low < span.first) return BAD_SPAN;
    size_t room = plane_floats(net->signal, want[0]);
    for (int g = 0; g < net->groups; g++) {
        int made = net->step[net->group[g].last - 1].target;
        kept[made] = 1;
        if (made != last) room += plane_floats(net->signal + made, want[made]);
    }
    if (!arena_holds(arenas, room)) return NO_MEMORY;
    float *memory = arenas->memory;
    for (int i = 0; i < last; i++)
        if (kept[i]) memory = lay_out(net->signal + i, want[i], memory, place + i);
    place[last] = (Place){{span.out, NULL}, want[last]};
    take_input(net->signal, span.x, span.first, length[0], place);
    for (int g = 0; g < net->groups; g++) {
        Piece piece = {.net = net, .group = net->group + g, .place = place, .length = length, .arena = arenas + 1};
        const int failed = run_group(piece, want, threads);
        if (failed) return failed;
    }
    return OK;
}

/* The length of every signal, of an input of `length` rows; 0 where one is longer than `most`. */
static int find_lengths(const Network *net, int64_t length, int64_t most, int64_t *lengths) {
    lengths[0] = length;
    if (!is_within(length, 0, most)) return 0;
    for (int i = 0; i < net->steps; i++) {
        const Step *s = net->step + i;
        const int64_t source = lengths[s->source];
        if (source > most / s->up) return 0;
        lengths[s->target] = rows_after(s, source);
    }
    return 1;
}

/* Which rows of the input, of `length` rows, rows low ... high - 1 of the output need. */
int ac_network_needs(const Network *net, int64_t length, int64_t low, int64_t high, RowRange *needed) {
    int64_t lengths[MOST_SIGNALS];
    RowRange want[MOST_SIGNALS] = {{0}};
    if (!net || !is_network(net)) return BAD_NETWORK;
    if (!needed || !find_lengths(net, length, ENDLESS, lengths)) return BAD_SPAN;
    if (!is_within(low, 0, high) || high > lengths[net->signals - 1]) return BAD_SPAN;
    want[net->signals - 1] = (RowRange){low, high};
    trace(net, lengths, 0, net->steps, want);
    *needed = inside(want[0], length);
    return OK;
}

/* One span, `chunk` rows of the output at a time. */
int ac_network(const Network *net, const RowSpan *span, int64_t chunk, int32_t threads) {
    int64_t lengths[MOST_SIGNALS];
    Arena arenas[MOST_THREADS + 1] = {{0}};
    int failed = OK;
    if (!net || !is_network(net)) return BAD_NETWORK;
    if (!span || !span->x || !span->out || chunk < 1 || threads < 1) return BAD_CALL;
    if (!find_lengths(net, span->length, LONGEST, lengths) || !is_within(span->first, 0, span->length)) return BAD_SPAN;
    if (!is_within(span->low, 0, span->high) || span->high > lengths[net->signals - 1]) return BAD_SPAN;
    threads = open_pool(threads);
    for (int64_t low = span->low; low < span->high && !failed; low += chunk) {
        RowSpan part = *span;
        part.out += (low - span->low) * net->signal[net->signals - 1].channels;
        part.low = low, part.high = low + chunk < span->high ? low + chunk : span->high;
        failed = run_span(net, lengths, part, arenas, threads);
    }
    close_pool(threads);
    for (int i = 0; i <= MOST_THREADS; i++) free(arenas[i].memory);
    return failed;
}

typedef struct {
    const Network *net;
    const int64_t *length;
    RowSpan first;
    Arena (*arenas)[2];
    _Atomic int failed;
} Many;

static void many_task(void *job, int task, int thread) {
    Many *many = job;
    const int last = many->net->signals - 1;
    RowSpan span = many->first;
    span.x += task * span.length * many->net->signal[0].channels;
    span.out += task * many->length[last] * many->net->signal[last].channels;
    const int failed = run_span(many->net, many->length, span, many->arenas[thread], 1);
    if (failed) atomic_store(&many->failed, failed);
}

/* The same for `count` short inputs, one after the other in memory; each is the task of one thread. */
int ac_networks(const Network *net, const float *x, int64_t length, float *out, int32_t count, int32_t threads) {
    int64_t lengths[MOST_SIGNALS];
    Arena arenas[MOST_THREADS][2] = {{{0}}};
    if (!net || !is_network(net)) return BAD_NETWORK;
    if (!x || !out || count < 0 || threads < 1) return BAD_CALL;
    if (!find_lengths(net, length, LONGEST, lengths)) return BAD_SPAN;
    Many many = {.net = net, .length = lengths, .arenas = arenas};
    many.first = (RowSpan){.x = x, .out = out, .length = length, .high = lengths[net->signals - 1]};
    threads = open_pool(threads);
    parallel(threads, count, many_task, &many);
    close_pool(threads);
    for (int i = 0; i < MOST_THREADS; i++) free(arenas[i][0].memory), free(arenas[i][1].memory);
    return atomic_load(&many.failed);
}

int32_t ac_panel(void) { return NR; }
