/* Codes of .acx files, read one after another: each needs the ones before it, so that nothing here runs in threads.
 * docs/codec-format.md says what every bit means, audiocraft/codec/entropy.py does the same in Python.
 *
 * All numbers are whole, so that every machine reads the same. Sums wrap around; Python uses tables of which none can. */

enum { SCALE = 1 << 16, LEAST_WEIGHT = 383, MOST_HIDDEN = 127, MOST_SYMBOLS = (1 << 14) + 1 };
#define LOWEST (1u << 23)

/* 2^24 times 2 to the power of -i/16, rounded down. */
static const uint32_t fractions[16] = {
    16777216, 16065917, 15384774, 14732510, 14107900, 13509772, 12937002, 12388515,
    11863283, 11360318, 10878678, 10417458, 9975792,  9552851,  9147841,  8760003,
};

typedef struct {
    const uint8_t *next, *end;
    uint64_t state;
} Coded;

/* Go on behind a symbol whose interval is known -> whether there were bytes enough. */
INLINE int pass(Coded *coded, uint64_t start, uint64_t frequency) {
    coded->state = frequency * (coded->state >> 16) + (coded->state & (SCALE - 1)) - start;
    while (coded->state < LOWEST) {
        if (coded->next == coded->end) return 0;
        coded->state = coded->state << 8 | *coded->next++;
    }
    return 1;
}

/* to[i] += factor * from[i], which wraps around. */
INLINE void add_times(uint32_t *restrict to, const int32_t *restrict from, int32_t factor, int count) {
    if (!factor) return;
    for (int i = 0; i < count; i++) to[i] += (uint32_t)factor * (uint32_t)from[i];
}

/* The next symbol by its table; -1 where bytes are missing. */
static int static_symbol(Coded *coded, const int32_t *starts, int symbols) {
    const int32_t slot = (int32_t)(coded->state & (SCALE - 1));
    int low = 0, high = symbols;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (starts[middle] <= slot) low = middle;
        else high = middle;
    }
    return pass(coded, (uint64_t)starts[low], (uint64_t)(starts[low + 1] - starts[low])) ? low : -1;
}

/* What a stream has heard. */
typedef struct {
    uint32_t *sums;   /* [books, hidden] of the frames before */
    int32_t *seen;    /* [past, codebooks * width], the last frame first */
    int32_t *frame;   /* [codebooks * width] of this frame */
} Heard;

typedef struct {
    uint32_t *hidden; /* [hidden] */
    uint32_t *bits;   /* [symbols], and then their weights */
    int32_t *found;   /* [symbols], their frequencies */
} Room;

static void begin_frame(const SymbolTables *t, const Heard *heard, int books) {
    const int inputs = t->codebooks * t->width, outputs = books * t->hidden;
    memset(heard->sums, 0, sizeof(uint32_t) * (size_t)outputs);
    memset(heard->frame, 0, sizeof(int32_t) * (size_t)inputs);
    for (int i = 0; i < t->frames * inputs; i++)
        add_times(heard->sums, t->past + (size_t)i * t->codebooks * t->hidden, heard->seen[i], outputs);
}

static void end_frame(const SymbolTables *t, const Heard *heard) {
    const size_t inputs = (size_t)t->codebooks * t->width;
    if (!t->frames) return;
    memmove(heard->seen + inputs, heard->seen, sizeof(int32_t) * inputs * (size_t)(t->frames - 1));
    memcpy(heard->seen, heard->frame, sizeof(int32_t) * inputs);
}

/* The next symbol by what was heard; -1 where bytes are missing. */
static int context_symbol(Coded *coded, const SymbolTables *t, const Heard *heard, int book, const Room *room) {
    const int symbols = t->symbols, hidden = t->hidden, inputs = t->codebooks * t->width;
    const int32_t *bias = t->hidden_bias + (size_t)book * hidden;
    for (int d = 0; d < hidden; d++) room->hidden[d] = heard->sums[book * hidden + d] + (uint32_t)bias[d];
    for (int i = 0; i < book * t->width; i++)
        add_times(room->hidden, t->same + ((size_t)book * inputs + i) * hidden, heard->frame[i], hidden);
    memcpy(room->bits, t->out_bias + (size_t)book * symbols, sizeof(uint32_t) * (size_t)symbols);
    for (int d = 0; d < hidden; d++) {
        int32_t level = (int32_t)room->hidden[d] >> 7;
        level = level < 0 ? 0 : level > MOST_HIDDEN ? MOST_HIDDEN : level;
        add_times(room->bits, t->out + ((size_t)book * hidden + d) * symbols, level, symbols);
    }
    int32_t most = INT32_MIN;
    for (int v = 0; v < symbols; v++) {
        const int32_t bits = (int32_t)room->bits[v] >> 6;
        room->bits[v] = (uint32_t)bits;
        most = bits > most ? bits : most;
    }
    uint64_t total = 0;
    for (int v = 0; v < symbols; v++) {
        uint32_t below = (uint32_t)most - room->bits[v];
        below = below < LEAST_WEIGHT ? below : LEAST_WEIGHT;
        room->bits[v] = fractions[below & 15] >> (below >> 4);
        total += room->bits[v];
    }
    /* Quotients in double precision are those of whole numbers: w * space < 2^40, and where q = w * space / total is no
     * whole number, the next one is at least 1 / total > q / 2^40 away, which is more than q / 2^52. */
    const double space = SCALE - symbols, all = (double)total;
    int32_t given = 0;
    for (int v = 0; v < symbols; v++) {
        room->found[v] = 1 + (int32_t)((double)(int32_t)room->bits[v] * space / all);
        given += room->found[v];
    }
    for (int v = 0; v < symbols; v++)
        if (room->bits[v] == fractions[0]) { /* the first of the likeliest, which always has this weight */
            room->found[v] += SCALE - given;
            break;
        }
    const int32_t slot = (int32_t)(coded->state & (SCALE - 1));
    int32_t start = 0;
    for (int v = 0; v < symbols; v++) {
        if (slot < start + room->found[v]) return pass(coded, (uint64_t)start, (uint64_t)room->found[v]) ? v : -1;
        start += room->found[v];
    }
    return -1; /* not reached: the frequencies sum to SCALE */
}

static int are_tables(const SymbolTables *t, int context) {
    if (!is_within(t->codebooks, 1, 256) || !is_within(t->symbols, 2, MOST_SYMBOLS)) return 0;
    if (!context) return t->starts != NULL;
    if (!is_within(t->width, 1, 1 << 10) || !is_within(t->hidden, 1, 1 << 12) || !is_within(t->frames, 0, 64)) return 0;
    return t->embed && t->past && t->same && t->hidden_bias && t->out && t->out_bias;
}

/* The codes [frames, streams, books] of a block, with static tables or the context model; of its beginning, where it is not
 * whole. Beside the answers of structs.h: ENDS_EARLY, ENDS_LATE or REPEATS_NOTHING where no encoder wrote the content. */
int ac_read_codes(const SymbolTables *t, const uint8_t *content, int64_t size, int32_t context, int32_t streams,
                  int32_t books, int32_t frames, int32_t whole, int32_t *codes) {
    if (!t || !are_tables(t, context)) return BAD_TABLES;
    if (!content || !codes || size < 0 || !is_within(books, 1, t->codebooks)) return BAD_CALL;
    if (!is_within(streams, 1, 256) || !is_within(frames, 0, 1 << 20)) return BAD_CALL;
    if (size < 4) return ENDS_EARLY;
    const size_t inputs = (size_t)t->codebooks * t->width, sums = (size_t)books * t->hidden;
    const size_t each = context ? sums + inputs * ((size_t)t->frames + 1) : 0;
    const size_t needed = context ? each * streams + (size_t)t->hidden + 2 * (size_t)t->symbols : 0;
    uint32_t *memory = (uint32_t *)scratch_floats(needed + 16);
    if (!memory) return NO_MEMORY;
    memset(memory, 0, sizeof(uint32_t) * needed);
    uint32_t *behind = memory + each * streams;
    const Room room = {behind, behind + t->hidden, (int32_t *)behind + t->hidden + t->symbols};
    Coded coded = {content + 4, content + size, 0};
    for (int i = 0; i < 4; i++) coded.state = coded.state << 8 | content[i];
    const int32_t again = t->symbols - 1;
    int answer = OK;
    for (int32_t frame = 0; frame < frames && !answer; frame++)
        for (int32_t stream = 0; stream < streams && !answer; stream++) {
            uint32_t *own = memory + each * stream;
            const Heard heard = {own, (int32_t *)own + sums, (int32_t *)own + sums + inputs * t->frames};
            int32_t *to = codes + ((size_t)frame * streams + stream) * books;
            if (context) begin_frame(t, &heard, books);
            for (int book = 0; book < books && !answer; book++) {
                const int32_t *starts = context ? NULL : t->starts + (size_t)book * (t->symbols + 1);
                int code = context ? context_symbol(&coded, t, &heard, book, &room)
                                   : static_symbol(&coded, starts, t->symbols);
                const int repeats = code == again;
                if (repeats && frame) code = to[book - (ptrdiff_t)streams * books];
                answer = code < 0 ? ENDS_EARLY : repeats && !frame ? REPEATS_NOTHING : OK;
                to[book] = code;
                if (answer || !context) continue;
                const int32_t *table = t->embed + (size_t)book * t->symbols * t->width;
                const int32_t *row = table + (size_t)code * t->width, *last = table + (size_t)again * t->width;
                for (int e = 0; e < t->width; e++) heard.frame[book * t->width + e] = row[e] + (repeats ? last[e] : 0);
            }
            if (context) end_frame(t, &heard);
        }
    free(memory);
    if (answer) return answer;
    return !whole || (coded.next == coded.end && coded.state == LOWEST) ? OK : ENDS_LATE;
}
