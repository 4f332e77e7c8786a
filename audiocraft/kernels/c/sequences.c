/* Attention of whole sequences, whose keys and values all are there before the first query asks: to all of them, or to
 * those that are near. Lanes are keys, then channels, so what becomes of a query depends on nothing but itself, and nothing
 * is added up across lanes but the mass of its weights. */

/* Keys in a panel [dim][KEYS]; queries that meet keys together where they see all, and where they see near ones. */
enum { ACROSS = VL == 16 ? 4 : 2, KEYS = ACROSS * VL, MOST_QUERIES = 48, NEAR_QUERIES = 12 };

typedef struct {
    const Attended *a;
    float *scratch; /* [threads, size] */
    size_t size;
} AttendJob;

/* Of the columns of a block of scores: those from `column` on are keys `from` ... `to` - 1, filled up to whole vectors. */
typedef struct {
    int from, to, column;
} SeenKeys;

INLINE int filled(int count, int to) { return (count + to - 1) / to * to; }

/* c[M][N vectors] = a[M][depth] . b[depth][N vectors], on top of what is there if `more`. */
INLINE void small_product(const int M, const int N, const float *a, int lda, const float *b, int ldb, int depth, float *c,
                          int ldc, int more) {
    vf sums[NEAR_QUERIES][ACROSS];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) sums[m][n] = more ? load(c + (size_t)m * ldc + n * VL) : (vf){0};
    for (int d = 0; d < depth; d++, b += ldb) {
        vf row[ACROSS];
        for (int n = 0; n < N; n++) row[n] = load(b + n * VL);
        for (int m = 0; m < M; m++) {
            const vf one = splat(a[(size_t)m * lda + d]);
            for (int n = 0; n < N; n++) sums[m][n] = fma_(one, row[n], sums[m][n]);
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) store(c + (size_t)m * ldc + n * VL, sums[m][n]);
}

/* The same for any number of rows. */
INLINE void rows_product(const int N, int rows, const float *a, int lda, const float *b, int ldb, int depth, float *c, int ldc,
                         int more) {
    int m = 0;
#define ROWS(M)                                                                                                    \
    for (; m + M <= rows; m += M)                                                                                  \
        small_product(M, N, a + (size_t)m * lda, lda, b, ldb, depth, c + (size_t)m * ldc, ldc, more)
    if (N == 1) ROWS(NEAR_QUERIES);
    ROWS(6);
    ROWS(2);
    ROWS(1);
#undef ROWS
}

static void panel_product(int rows, const float *a, int lda, const float *b, int ldb, int depth, float *c, int ldc, int more) {
    rows_product(ACROSS, rows, a, lda, b, ldb, depth, c, ldc, more);
}

static void vector_product(int rows, const float *a, int lda, const float *b, int ldb, int depth, float *c, int ldc, int more) {
    rows_product(1, rows, a, lda, b, ldb, depth, c, ldc, more);
}

/* Scores of some queries with the keys that one of them sees. */
static void score_keys(const Attended *a, const float *query, int count, const float *keys, SeenKeys seen, float *scores,
                       int width) {
    const int dim = (int)a->dim;
    for (int s = seen.from; s < seen.to;) {
        const float *panel = keys + (size_t)(s / KEYS) * KEYS * dim + s % KEYS;
        float *to = scores + seen.column + s - seen.from;
        if (s % KEYS == 0 && s + KEYS <= filled(seen.to, VL)) {
            panel_product(count, query, dim, panel, KEYS, dim, to, width, 0);
            s += KEYS;
        } else {
            vector_product(count, query, dim, panel, KEYS, dim, to, width, 0);
            s += VL;
        }
    }
}

/* out[count][dim], on top of what is there if `more`: values times weights. KEYS values at a time stay in the first
 * cache. */
static void weigh_values(const Attended *a, const float *weights, int width, SeenKeys seen, int count, const float *values,
                         float *out, int more) {
    const int dim = (int)a->dim;
    for (int s = seen.from, depth; s < seen.to; s += depth, more = 1) {
        depth = seen.to - s < KEYS ? seen.to - s : KEYS;
        const float *by = weights + seen.column + s - seen.from, *value = values + (size_t)s * dim;
        int i = 0;
        for (; i + ACROSS * VL <= dim; i += ACROSS * VL) panel_product(count, by, width, value + i, dim, depth, out + i, dim, more);
        for (; i < dim; i += VL) vector_product(count, by, width, value + i, dim, depth, out + i, dim, more);
    }
}

/* Columns of other keys than from ... to - 1 become unseen. */
static void hide_keys(float *scores, SeenKeys seen, int64_t from, int64_t to) {
    const int end = filled(seen.to - seen.from, VL);
    for (int c = 0; c < from - seen.from; c++) scores[seen.column + c] = -INFINITY;
    for (int c = (int)(to - seen.from); c < end; c++) scores[seen.column + c] = -INFINITY;
}

/* Queries first ... first + count - 1 of a head. */
static void attend_block(const Attended *a, const float *query, int first, int count, const float *keys, const float *values,
                         float *scores, int width, float *made, float *out) {
    const int length = (int)a->length, shared = (int)a->shared, dim = (int)a->dim;
    const int limited = a->context >= 0 && first >= shared;
    SeenKeys all = {0, limited ? shared : length, 0}, near = {0};
    near.column = filled(all.to, VL);
    if (limited) {
        const int64_t from = first - a->context, to = first + count + a->context;
        near.from = (int)(from > shared ? from : shared) / VL * VL;
        near.to = (int)(to < length ? to : length);
    }
    const int columns = near.column + (limited ? filled(near.to - near.from, VL) : 0);
    score_keys(a, query, count, keys, all, scores, width);
    if (limited) score_keys(a, query, count, keys, near, scores, width);
    float masses[MOST_QUERIES];
    for (int i = 0; i < count; i++) {
        float *own = scores + (size_t)i * width;
        const int64_t place = first + i;
        hide_keys(own, all, 0, all.to);
        if (limited) {
            const int64_t from = place - a->context, to = place + a->context + 1;
            hide_keys(own, near, from > shared ? from : shared, to < length ? to : length);
        }
        masses[i] = softmax(own, columns);
    }
    weigh_values(a, scores, width, all, count, values, made, 0);
    if (limited) weigh_values(a, scores, width, near, count, values, made, shared > 0);
    for (int i = 0; i < count; i++) {
        const vf by = splat(1.0f / masses[i]);
        for (int d = 0; d < dim; d += VL) store(out + (size_t)i * a->heads * dim + d, load(made + (size_t)i * dim + d) * by);
    }
}

/* One head of one row. */
static void attend_task(void *given, int task, int thread) {
    const AttendJob *job = given;
    const Attended *a = job->a;
    const int dim = (int)a->dim, length = (int)a->length, steps = (int)a->steps, padded = filled(length, KEYS);
    const int64_t row = task / a->heads, head = task % a->heads, of = head / a->repeat;
    const float *query = a->query + row * a->query_row + head * a->query_head;
    const float *key = a->key + row * a->key_row + of * a->key_head;
    const float *value = a->value + row * a->value_row + of * a->value_head;
    float *keys = job->scratch + job->size * thread, *values = keys + (size_t)padded * dim;
    float *scaled = values + (size_t)padded * dim, *made = scaled + MOST_QUERIES * dim, *scores = made + MOST_QUERIES * dim;
    const int width = padded + 2 * KEYS;
    const float by = 1.0f / sqrtf((float)dim);
    for (int s = 0; s < padded; s++) {
        float *to = keys + (size_t)(s / KEYS) * KEYS * dim + s % KEYS;
        for (int d = 0; d < dim; d++) to[(size_t)d * KEYS] = s < length ? key[s * a->key_step + d] : 0.0f;
    }
    for (int s = 0; s < length; s++) memcpy(values + (size_t)s * dim, value + s * a->value_step, dim * sizeof(float));
    for (int first = 0, count; first < steps; first += count) {
        /* what comes before the sequence sees all of it, and so does not share a block with what sees what is near */
        const int limited = a->context >= 0 && first >= a->shared, most = limited ? NEAR_QUERIES : MOST_QUERIES;
        const int64_t end = a->context >= 0 && !limited && a->shared < steps ? a->shared : steps;
        count = end - first < most ? (int)(end - first) : most;
        for (int i = 0; i < count; i++)
            for (int d = 0; d < dim; d += VL)
                store(scaled + (size_t)i * dim + d, load(query + (first + i) * a->query_step + d) * splat(by));
        float *out = a->out + ((row * steps + first) * a->heads + head) * dim;
        attend_block(a, scaled, first, count, keys, values, scores, width, made, out);
    }
}

/* Attention of [rows, heads, steps, dim] to keys and values of as many rows. */
int ac_attend(const Attended *a, int32_t threads) {
    if (!a || threads < 1 || !is_attended(a)) return BAD_CALL;
    threads = open_pool(threads);
    const size_t padded = filled((int)a->length, KEYS);
    AttendJob job = {.a = a, .size = 2 * padded * a->dim + MOST_QUERIES * (2 * a->dim + padded + 2 * KEYS)};
    job.scratch = scratch_floats(job.size * threads);
    if (job.scratch) parallel(threads, (int)(a->rows * a->heads), attend_task, &job);
    close_pool(threads);
    free(job.scratch);
    return job.scratch ? OK : NO_MEMORY;
}

/* y[tokens, rows of down] = down . activation(up . x): what is in between is there for AT_ONCE tokens, near the core. */
int ac_feed_forward(const Matrix *up, const Matrix *down, const float *x, int32_t tokens, int32_t activation, float *y,
                    int32_t threads) {
    if (!up || !down || !is_matrix(up, HAS_INT8_DOT) || !is_matrix(down, HAS_INT8_DOT) || up->rows != down->cols)
        return BAD_MATRIX;
    if (!x || !y || tokens < 0 || threads < 1 || !is_within(activation, 0, ACTIVATIONS - 1)) return BAD_CALL;
    const size_t at_once = tokens < AT_ONCE ? tokens : AT_ONCE, widest = up->cols > down->cols ? up->cols : down->cols;
    threads = open_pool(threads);
    const size_t quantised = inputs_size(widest) * at_once, hidden = (size_t)up->rows * at_once;
    float *memory = scratch_floats(quantised + (hidden + 15) / 16 * 16 + unpacked_size(widest) * threads);
    float *between = memory + quantised, *unpacked = between + (hidden + 15) / 16 * 16;
    for (int32_t t = 0; memory && t < tokens; t += AT_ONCE) {
        const int count = tokens - t < AT_ONCE ? tokens - t : AT_ONCE;
        Product first = {.w = up, .x = x + (size_t)t * up->cols, .M = count, .y = between, .ldy = up->rows,
                         .activation = activation, .unpacked = unpacked};
        Product second = {.w = down, .x = between, .M = count, .y = y + (size_t)t * down->rows, .ldy = down->rows,
                          .unpacked = unpacked};
        product(threads, first, memory);
        product(threads, second, memory);
    }
    close_pool(threads);
    free(memory);
    return memory ? OK : NO_MEMORY;
}
