/* Steps of a multilayer perceptron, many in one call: batch, forward, cross-entropy, backward, measurement, update.
 *
 * Between two matrix products or statistics of a batch everything is done rows by rows: some rows, few enough for the
 * cache, pass through all modules in between and are measured on the way. With and without measuring the arithmetic is
 * the same.
 */
#include "network.h"
#include "elementary.h"
#include "sums.h"
#include "layers.h"
#include "measured.h"
#include "optimizers.h"

static int normalises(const Module *m) { return m->kind == BATCH_NORM || m->kind == STANDARDIZE; }

/* Whether a module needs the whole batch first: for a product, or for statistics. */
static int needs_batch(const Module *m) { return m->kind == LINEAR || normalises(m); }

static int64_t rows_at_once(int64_t E) {
    int64_t rows = BLOCK / E;
    return rows < 1 ? 1 : rows > 256 ? 256 : rows;
}

static const float *input_of(const Network *net, const Module *m) {
    return m == net->module ? net->input_BD : m[-1].output_BE;
}

/* ---- forward ---- */

static void forward_rows(const Network *net, const Module *m, int64_t from, int64_t B) {
    int64_t at = from * m->out, n = B * m->out;
    const float *x = input_of(net, m) + at;
    float *y = m->output_BE + at;
    switch (m->kind) {
        case LINEAR: if (m->bias.value) add_bias(m->bias.value, B, m->out, y); break;
        case ACTIVATION: activate(m->function, m->option, x, n, y); break;
        case BATCH_NORM:
        case STANDARDIZE: normalise(m, x, B, y); break;
        case PUT: break; /* its output is its input */
        default: add(x, net->wire_up[m->wire] + at, n, y);
    }
}

static int of_batch(const Module *m, int training) {
    return m->kind == STANDARDIZE || (m->kind == BATCH_NORM && m->own_statistics & (training ? IN_TRAINING : AT_EVALUATION));
}

/* Σ (x − c) and Σ (x − c)² of each feature, the input of a normalisation: c, its mean over the first rows, is close
 * enough to that over all of them that the second is not much larger than Σ (x − μ)². */
static void add_statistics(Network *net, const Module *m, int64_t from, int64_t B) {
    int64_t E = m->out;
    const float *x_BE = input_of(net, m) + from * E;
    if (!from) {
        memset(net->sum_E, 0, E * sizeof(double));
        memset(net->product_E, 0, E * sizeof(double));
        add_columns(x_BE, B, E, net->sum_E);
        for (int64_t e = 0; e < E; e++) m->mean_E[e] = net->sum_E[e] / B;
        memset(net->sum_E, 0, E * sizeof(double));
    }
    add_products(NULL, x_BE, m->mean_E, B, E, net->sum_E, net->product_E);
}

static void finish_statistics(const Network *net, Module *m, int64_t B, int training) {
    if (m->kind == STANDARDIZE) standardise(m, B, net->sum_E, net->product_E);
    else if (of_batch(m, training))
        batch_norm(m, B, net->sum_E, net->product_E, training);
    else
        batch_norm_running(m);
}

static void forward(Network *net, int64_t B, int training, double *table) {
    int64_t next;
    if (normalises(net->module)) { /* behind a frozen prefix */
        int64_t at_once = rows_at_once(net->module->out);
        for (int64_t from = 0; of_batch(net->module, training) && from < B; from += at_once)
            add_statistics(net, net->module, from, from + at_once < B ? at_once : B - from);
        finish_statistics(net, net->module, B, training);
    }
    for (int64_t begin = 0; begin < net->modules; begin = next) {
        Module *m = net->module + begin;
        for (next = begin + 1; next < net->modules && !needs_batch(net->module + next);) next++;
        for (int64_t i = begin; i < next; i++)
            if (net->module[i].kind == PUT) net->wire_up[net->module[i].wire] = net->module[i].output_BE;
        if (m->kind == LINEAR)
            product(net->gemm, 'N', 'T', B, m->out, m->in, input_of(net, m), m->weight.value, m->output_BE);

        Module *normalising = next < net->modules && normalises(net->module + next) ? net->module + next : NULL;
        const Module *seen_z = NULL, *seen_h = NULL;
        MeasuredZ z = {{0, 0, 0}, 0, 0};
        Moments h = {0, 0, 0};
        int64_t at_once = rows_at_once(m->out);
        for (int64_t from = 0; from < B; from += at_once) {
            int64_t rows = from + at_once < B ? at_once : B - from;
            for (int64_t i = begin; i < next; i++) {
                const Module *one = net->module + i;
                forward_rows(net, one, from, rows);
                if (table && one->z_site >= 0)
                    measure_z(net, seen_z = one, one->output_BE + from * one->out, rows, &z);
                if (table && one->h_site >= 0)
                    measure_h(net, seen_h = one, one->output_BE + from * one->out, rows, &h);
            }
            if (normalising && of_batch(normalising, training)) add_statistics(net, normalising, from, rows);
        }
        if (normalising) finish_statistics(net, normalising, B, training);
        if (seen_z) finish_z(net, seen_z, &z, table + seen_z->z_site * COLUMNS);
        if (seen_h) finish_h(net, seen_h, B, &h, table + seen_h->h_site * COLUMNS);
    }
}

/* ---- backward ---- */

/* From the gradient at some rows of a module's output that at its input, in place. */
static void backward_rows(const Network *net, const Module *m, int64_t from, int64_t B, float *d) {
    int64_t at = from * m->out, n = B * m->out;
    const float *x = input_of(net, m) + at;
    switch (m->kind) {
        case LINEAR: break; /* by its product */
        case ACTIVATION: activate_back(m->function, m->option, of_input(m->function) ? x : m->output_BE + at, n, d); break;
        case BATCH_NORM:
        case STANDARDIZE: normalise_back(m, x, net->row_E, B, d); break;
        case PUT: add(d, net->wire_down_BE[m->wire] + at, n, d); break;
        default: memcpy(net->wire_down_BE[m->wire] + at, d, n * sizeof(float));
    }
}

/* Sums over the batch of the gradient at a module's output, rows by rows. */
static void add_gradients(Network *net, const Module *m, int64_t from, int64_t B, const float *d) {
    if (m->kind == LINEAR && m->bias.gradient) add_columns(d, B, m->out, net->sum_E);
    if (normalises(m))
        add_products(d, input_of(net, m) + from * m->out, m->mean_E, B, m->out, net->sum_E, net->product_E);
}

static float *finish_gradients(Network *net, Module *m, int64_t B, float *d) {
    if (m->kind == BATCH_NORM) batch_norm_back(m, B, net->sum_E, net->product_E, net->row_E);
    if (m->kind == STANDARDIZE) standardise_back(m, B, net->sum_E, net->product_E, net->row_E);
    if (m->kind != LINEAR) return d;
    for (int64_t e = 0; m->bias.gradient && e < m->out; e++) m->bias.gradient[e] = net->sum_E[e];
    if (m->weight.gradient)
        product(net->gemm, 'T', 'N', m->out, m->in, B, d, input_of(net, m), m->weight.gradient);
    if (m == net->module + net->first) return d; /* nobody asks for the gradient at its input */
    float *down = net->down_BE[d == net->down_BE[0]];
    product(net->gemm, 'N', 'N', B, m->in, m->out, d, m->weight.value, down);
    return down;
}

static void backward(Network *net, int64_t B, float *d, double *table) {
    int64_t last = net->modules - 1; /* the last module that the gradient has not passed */
    for (int64_t next = last; next >= net->first; next--) {
        Module *m = net->module + next;
        if (!needs_batch(m)) continue;
        memset(net->sum_E, 0, m->out * sizeof(double));
        memset(net->product_E, 0, m->out * sizeof(double));
        const Module *seen = NULL;
        double squared = 0;
        int64_t at_once = rows_at_once(m->out);
        for (int64_t from = 0; from < B; from += at_once) {
            int64_t rows = from + at_once < B ? at_once : B - from;
            float *here = d + from * m->out;
            for (int64_t i = last; i >= next; i--) {
                const Module *one = net->module + i;
                if (table && one->z_site >= 0 && !(i > next && needs_batch(one))) { /* else it was seen already */
                    seen = one;
                    squared += squares(here, rows * m->out);
                }
                if (i > next) backward_rows(net, one, from, rows, here);
            }
            add_gradients(net, m, from, rows, here);
        }
        if (seen) {
            table[seen->z_site * COLUMNS + D_RMS] = sqrt(squared / (B * m->out));
            table[seen->z_site * COLUMNS + D_NORM] = sqrt(squared);
        }
        d = finish_gradients(net, m, B, d);
        last = m->kind == LINEAR ? next - 1 : next;
    }
}

static void update_all(Network *net, double *table) {
    net->optimizer.steps++;
    for (int64_t i = net->first; i < net->modules; i++) {
        Module *m = net->module + i;
        update(&net->optimizer, &m->weight, table && m->layer >= 0 ? table + m->layer * COLUMNS : NULL);
        update(&net->optimizer, &m->bias, NULL);
    }
}

/* ---- what Python calls ---- */

/* A digest of all sources, by which Python knows that they are those of this library. */
const char SOURCES_DIGEST[] = SOURCES;

static int64_t load(Network *net, const Stretch *on, int64_t at) {
    int64_t B = on->size - at < on->batch ? on->size - at : on->batch;
    gather(on, on->order_M + at, B, net->module[0].in, net->input_BD);
    for (int64_t b = 0; b < B; b++) net->labels_B[b] = on->labels_N[on->order_M[at + b]];
    return B;
}

/* Steps over a stretch, the last of which may be of a smaller batch. `measured` says of each whether its table is
 * written, [sites, COLUMNS]. */
void steps(Network *net, const Stretch *on, const uint8_t *measured, double *losses, int64_t *right, double *tables) {
    const float *out_BE = net->module[net->modules - 1].output_BE;
    for (int64_t at = 0, step = 0; at < on->size; at += on->batch, step++) {
        double *table = measured[step] ? tables : NULL;
        if (table) tables += net->sites * COLUMNS;
        int64_t B = load(net, on, at);
        forward(net, B, 1, table);
        losses[step] = cross_entropy(out_BE, net->labels_B, B, net->classes, net->down_BE[0], right);
        backward(net, B, net->down_BE[0], table);
        update_all(net, table);
    }
}

/* The loss of each batch, and how many samples are right, without a step. */
void evaluate(Network *net, const Stretch *on, double *losses, int64_t *right) {
    const float *out_BE = net->module[net->modules - 1].output_BE;
    for (int64_t at = 0, batch = 0; at < on->size; at += on->batch, batch++) {
        int64_t B = load(net, on, at);
        forward(net, B, 0, NULL);
        losses[batch] = cross_entropy(out_BE, net->labels_B, B, net->classes, net->down_BE[0], right);
    }
}
