/* What is looked at before anything is computed. Sizes come from configurations that strangers wrote: whatever is too
 * large for the arithmetic here, or does not fit together, is refused and nothing is read. */

#pragma once

#include "structs.h"
#include "vectors.h"

/* Products of any two of these fit in 64 bits, and of WIDEST and a small constant in 32. */
enum { WIDEST = 1 << 24, MOST_LAYERS = 1 << 12, MOST_CODEBOOKS = 1 << 10, MOST_TOKENS = 1 << 24, MOST_PARTS = 1 << 20 };
#define LONGEST ((int64_t)1 << 36)   /* rows of a signal that is computed */
#define ENDLESS ((int64_t)1 << 60)   /* rows of a signal that is only spoken of */

INLINE int is_within(int64_t value, int64_t least, int64_t most) { return value >= least && value <= most; }

/* Whether a matrix may be multiplied by. Panels exist where bytes are multiplied, and nowhere else. */
static int is_matrix(const Matrix *w, int has_panels) {
    if (!is_within(w->kind, 0, has_panels ? PANELS4 : I4) || !w->data) return 0;
    if (!is_within(w->rows, 1, WIDEST) || !is_within(w->cols, 1, WIDEST)) return 0;
    if (w->kind >= I8 && !w->scales) return 0;
    if (w->kind >= PANELS8 && w->rows % PANEL) return 0;
    return w->cols % (w->kind >= I8 ? GROUP : VL) == 0;
}

INLINE int is_matrix_of(const Matrix *w, int64_t rows, int64_t cols, int has_panels) {
    return w->rows == rows && w->cols == cols && is_matrix(w, has_panels);
}

INLINE int is_norm(Norm norm) { return norm.weight && norm.bias; }

static int is_layer(const Model *model, const Layer *layer, int has_panels) {
    const int64_t width = model->width, kv = (int64_t)model->kv_heads * model->head_dim;
    if (!is_norm(layer->norm1) || !is_norm(layer->norm2)) return 0;
    if (!is_matrix_of(&layer->qkv, width + 2 * kv, width, has_panels)) return 0;
    if (!is_matrix_of(&layer->out, width, width, has_panels)) return 0;
    if (!is_matrix_of(&layer->up, model->hidden, width, has_panels)) return 0;
    if (!is_matrix_of(&layer->down, width, model->hidden, has_panels)) return 0;
    if (!model->crosses) return 1;
    return is_norm(layer->norm_cross) && is_matrix_of(&layer->cross_q, width, width, has_panels) &&
           is_matrix_of(&layer->cross_out, width, width, has_panels);
}

static int is_model(const Model *model, int has_panels) {
    if (!is_within(model->layers, 1, MOST_LAYERS) || !model->layer) return 0;
    if (!is_within(model->width, 1, WIDEST / 4) || !is_within(model->hidden, 1, WIDEST)) return 0;
    if (!is_within(model->heads, 1, model->width) || !is_within(model->kv_heads, 1, model->heads)) return 0;
    if ((int64_t)model->heads * model->head_dim != model->width || model->heads % model->kv_heads) return 0;
    if (model->head_dim % VL || !is_within(model->activation, 0, ACTIVATIONS - 1)) return 0;
    for (int i = 0; i < model->layers; i++)
        if (!is_layer(model, model->layer + i, has_panels)) return 0;
    return 1;
}

static int are_heads(const Model *model, const TokenHeads *heads, int has_panels) {
    if (!is_within(heads->codebooks, 1, MOST_CODEBOOKS) || !is_within(heads->entries, 1, WIDEST)) return 0;
    if (!heads->tables || !heads->heads || (heads->has_norm && !is_norm(heads->norm))) return 0;
    if (heads->has_sines && (!heads->periods || model->width % 2)) return 0;
    const int64_t rows = heads->heads[0].rows;
    if (rows * heads->codebooks > INT32_MAX) return 0;
    for (int k = 0; k < heads->codebooks; k++)
        if (!heads->tables[k] || !is_matrix_of(heads->heads + k, rows, model->width, has_panels)) return 0;
    return 1;
}

INLINE int is_cache(const KVView *view, int head_dim) {
    if (!view->keys || !view->values || (view->kind != F32 && view->kind != F16 && view->kind != I8)) return 0;
    if (view->row < 0 || view->head < 0 || view->rows < 1 || !is_within(view->length, 0, LONGEST)) return 0;
    return view->step >= head_dim + (view->kind == I8 ? (int)sizeof(float) : 0);
}

/* Whether what is added to the products of one part can be. */
static int are_low_rank(const Model *model, const AddedProduct *each) {
    for (int64_t i = 0; each && i < (int64_t)model->layers * ADAPTABLE; i++) {
        if (!is_within(each[i].rank, 0, WIDEST / 4) || each[i].rank % VL) return 0;
        if (each[i].rank && (!each[i].a || !each[i].b)) return 0;
    }
    return 1;
}

/* OK, BAD_STEP or BAD_CACHE. */
static int check_step(const Model *model, const StepInput *step) {
    if (!is_within(step->tokens, 0, MOST_TOKENS) || !is_within(step->parts, 1, MOST_PARTS) || step->threads < 1)
        return BAD_STEP;
    if (!step->part || !step->row || !step->position || !step->x || !step->past) return BAD_STEP;
    if (!step->rotate_q != !step->rotate_k || (step->rotate_q && model->head_dim % 2)) return BAD_STEP;
    if (model->crosses && !step->source) return BAD_CACHE;
    for (int part = 0; step->adapters && part < step->parts; part++)
        if (!are_low_rank(model, step->adapters[part])) return BAD_STEP;
    const int64_t views = (int64_t)model->layers * step->parts;
    for (int64_t i = 0; i < views; i++) {
        if (!is_cache(step->past + i, model->head_dim)) return BAD_CACHE;
        if (model->crosses && !is_cache(step->source + i, model->head_dim)) return BAD_CACHE;
    }
    for (int t = 0; t < step->tokens; t++) {
        if (!is_within(step->part[t], 0, step->parts - 1)) return BAD_STEP;
        for (int64_t i = step->part[t]; i < views; i += step->parts) {
            const KVView *past = step->past + i;
            if (!is_within(step->row[t], 0, past->rows - 1)) return BAD_STEP;
            if (!is_within(step->position[t], 0, past->length - 1)) return BAD_CACHE;
            if (model->crosses && step->row[t] >= step->source[i].rows) return BAD_CACHE;
        }
    }
    return OK;
}

INLINE int are_strides(int64_t row, int64_t head, int64_t step) {
    return is_within(row, 0, LONGEST) && is_within(head, 0, LONGEST) && is_within(step, 0, LONGEST);
}

static int is_attended(const Attended *a) {
    if (!a->query || !a->key || !a->value || !a->out) return 0;
    if (!is_within(a->rows, 1, WIDEST) || !is_within(a->heads, 1, WIDEST) || a->rows * a->heads > INT32_MAX) return 0;
    if (!is_within(a->repeat, 1, a->heads) || a->heads % a->repeat || !is_within(a->dim, 1, 1 << 12) || a->dim % VL) return 0;
    if (!is_within(a->steps, 1, MOST_TOKENS) || !is_within(a->length, 1, MOST_TOKENS)) return 0;
    if (!is_within(a->context, -1, MOST_TOKENS) || !is_within(a->shared, 0, a->steps)) return 0;
    if (a->context >= 0 && a->steps != a->length) return 0;
    return are_strides(a->query_row, a->query_head, a->query_step) && are_strides(a->key_row, a->key_head, a->key_step) &&
           are_strides(a->value_row, a->value_head, a->value_step);
}

/* ---------------------------------------------------------------- codecs */

static int is_step(const Network *net, const Step *s, const char *made) {
    const int last = net->signals - 1;
    if (!is_within(s->source, 0, last) || !is_within(s->target, 1, last) || !is_within(s->reads, 0, PLANES - 1)) return 0;
    if (!made[s->source] || made[s->target]) return 0;
    const Signal *from = net->signal + s->source, *to = net->signal + s->target;
    if (!(s->reads == RAW ? from->raw : from->active) || !s->weight || !s->bias) return 0;
    if (!is_within(s->taps, 1, WIDEST) || !is_within(s->hop, 0, WIDEST) || !is_within(s->inner, 1, WIDEST)) return 0;
    if (!is_within(s->stride, 1, WIDEST) || !is_within(s->up, 1, WIDEST) || !is_within(s->span, 1, WIDEST)) return 0;
    if (!is_within(s->left, 0, WIDEST) || !is_within(s->trim, 0, s->up) || !is_within(s->columns, 1, WIDEST)) return 0;
    if (s->columns != (int64_t)s->up * to->channels || (s->narrow && s->taps != 1)) return 0;
    /* the last run ends within the rows that the step says it reads */
    if ((int64_t)(s->taps - 1) * s->hop * from->channels + s->inner > (int64_t)s->span * from->channels) return 0;
    if (s->add < 0) return 1;
    if (s->add > last || s->up != 1 || s->narrow || !made[s->add]) return 0;
    return net->signal[s->add].raw && net->signal[s->add].channels == to->channels;
}

/* Whether the steps are in order, each reads what is there, and groups pass on to each other only what their last steps
 * make. */
static int is_network(const Network *net) {
    if (!is_within(net->signals, 2, MOST_SIGNALS) || !is_within(net->steps, 1, MOST_SIGNALS)) return 0;
    if (!is_within(net->groups, 1, net->steps) || !net->signal || !net->step || !net->group) return 0;
    for (int i = 0; i < net->signals; i++) {
        const Signal *signal = net->signal + i;
        if (!is_within(signal->channels, 1, 1 << 16) || !(signal->raw || signal->active)) return 0;
        if (!is_within(signal->active, 0, CODEC_ACTIVATIONS - 1) || !is_within(signal->pad, 0, PADDINGS - 1)) return 0;
    }
    char made[MOST_SIGNALS] = {1}, ever[MOST_SIGNALS] = {1};
    int next = 0;
    for (int g = 0; g < net->groups; g++) {
        const FusedSteps *group = net->group + g;
        if (group->first != next || !is_within(group->last, next + 1, net->steps) || group->rows < 1 || group->panels < 1)
            return 0;
        next = group->last;
        for (int i = group->first; i < group->last; i++) {
            if (!is_step(net, net->step + i, made) || ever[net->step[i].target]) return 0;
            made[net->step[i].target] = ever[net->step[i].target] = 1;
        }
        for (int i = group->first; i < group->last - 1; i++) made[net->step[i].target] = 2;
        for (int i = 0; i < net->signals; i++) made[i] = made[i] == 1; /* what stayed in the tiles is gone */
    }
    const Step *last = net->step + net->steps - 1;
    const Signal *out = net->signal + net->signals - 1;
    return next == net->steps && last->target == net->signals - 1 && last->up == 1 && out->raw && !out->active;
}

enum { WIDEST_LSTM = 1 << 13 };

static int is_lstm(const Lstm *lstm, int units) {
    if (!is_within(lstm->width, 1, WIDEST_LSTM) || !is_within(lstm->input, 1, 1 << 16)) return 0;
    return lstm->width % units == 0 && lstm->input % VL == 0 && lstm->w_in && lstm->back && lstm->bias;
}
