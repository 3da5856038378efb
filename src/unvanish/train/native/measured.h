/* What is measured of a layer's signals: rows by rows, as long as they are in the cache; and after the last of them its
 * row in the table. */

/* z: moments, for each feature the range over the batch, and how many elements are outside of low…high */
typedef struct {
    Moments moments;
    double outside;
    int unknown; /* NaN is on no side */
} MeasuredZ;

VERSIONS static void add_flat(const Network *net, const Module *m, const float *z_BE, int64_t B, int first,
                              double *outside) {
    int64_t E = m->out, lost = 0;
    const float low = m->low, high = m->high;
    float *restrict least_E = net->least_E, *restrict most_E = net->most_E;
    if (first) {
        memcpy(least_E, z_BE, E * sizeof(float));
        memcpy(most_E, z_BE, E * sizeof(float));
    }
    for (int64_t b = 0; b < B; b++)
        for (int64_t e = 0; e < E; e++) {
            float z = z_BE[b * E + e];
            least_E[e] = z < least_E[e] ? z : least_E[e]; /* a feature that is NaN stays NaN */
            most_E[e] = z > most_E[e] ? z : most_E[e];
        }
    for (int64_t e = 0; e < E; e++) lost += (least_E[e] < low) | (most_E[e] > high);
    if (!lost) return; /* counting takes as long again, and is seldom needed */
    int32_t elements = 0;
    for (int64_t i = 0; i < B * E; i++) elements += (z_BE[i] < low) | (z_BE[i] > high);
    *outside += elements;
}

static void measure_z(const Network *net, const Module *m, const float *z_BE, int64_t B, MeasuredZ *so_far) {
    int first = so_far->moments.n == 0;
    add_moments(&so_far->moments, z_BE, B * m->out);
    if (m->low > -INFINITY || m->high < INFINITY) add_flat(net, m, z_BE, B, first, &so_far->outside);
    for (int64_t i = 0; isnan(so_far->moments.mean) && i < B * m->out; i++) /* of a NaN, or of ∞ − ∞ */
        if (isnan(z_BE[i])) {
            so_far->unknown = 1;
            net->least_E[i % m->out] = net->most_E[i % m->out] = NAN;
        }
}

static void finish_z(const Network *net, const Module *m, const MeasuredZ *z, double *row) {
    int64_t below = m->low > -INFINITY, above = m->high < INFINITY, dead = 0;
    for (int64_t e = 0; (below || above) && e < m->out; e++)
        dead += (below && net->most_E[e] <= m->low) || (above && net->least_E[e] >= m->high);
    row[Z_MEAN] = z->moments.mean;
    row[Z_STD] = sqrt(z->moments.squares / z->moments.n);
    row[SATURATED] = z->unknown ? NAN : z->outside / z->moments.n;
    row[DEAD] = (double)dead / m->out;
}

/* h: moments, and for each feature those of h − h_0, sample 0: the mean over a batch of what is nearly equal would be
 * rounded */
static void measure_h(const Network *net, const Module *m, const float *h_BE, int64_t B, Moments *so_far) {
    if (!so_far->n) {
        memset(net->h_sum_E, 0, m->out * sizeof(double));
        memset(net->h_square_E, 0, m->out * sizeof(double));
    }
    add_moments(so_far, h_BE, B * m->out);
    add_products(NULL, h_BE, m->output_BE, B, m->out, net->h_sum_E, net->h_square_E);
}

VERSIONS static double exact_distance(const float *h_E, const double *mean_E, int64_t E) {
    double sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int64_t e = 0; e < E; e++) sum += (h_E[e] - mean_E[e]) * (h_E[e] - mean_E[e]);
    return sum;
}

/* the spread: √ mean (h − h̄)², h̄ the mean over the batch */
static void finish_h(const Network *net, const Module *m, int64_t B, const Moments *h, double *row) {
    int64_t E = m->out;
    double squares = 0, of_mean = 0;
    for (int64_t e = 0; e < E; e++) {
        squares += net->h_square_E[e];
        of_mean += net->h_sum_E[e] / B * net->h_sum_E[e];
    }
    double around = squares - of_mean;
    if (!in_range(around) || around < 0.05 * squares) { /* vanished, exploded, or sample 0 is far from the others */
        around = 0;
        for (int64_t e = 0; e < E; e++) net->h_sum_E[e] = m->output_BE[e] + net->h_sum_E[e] / B;
        for (int64_t b = 0; b < B; b++) around += exact_distance(m->output_BE + b * E, net->h_sum_E, E);
    }
    row[H_MEAN] = h->mean;
    row[H_STD] = sqrt(h->squares / h->n);
    row[H_RMS] = sqrt(h->mean * h->mean + h->squares / h->n);
    row[SPREAD] = sqrt(around / (B * E));
}
