/* One pair of functions for each kind of module: its output from its input, and the gradient at its input from that at
 * its output, in place of it. They work on some rows of the batch, so that these stay in the cache from one module to
 * the next; what depends on the whole batch is collected beforehand, rows by rows as well. */

/* x = pixels / 255, to the last bit: 1/255 in two parts, of which the first has so few digits that its product with a
 * byte is exact. */
VERSIONS static void gather(const Stretch *from, const int64_t *rows_B, int64_t B, int64_t D, float *restrict x_BD) {
    enum { AHEAD = 4, CACHE_LINE = 64 };
    const float high = 0x1.01p-8f, low = (float)(1.0 / 255 - 0x1.01p-8);
    for (int64_t b = 0; b < B; b++) {
        float *restrict x_D = x_BD + b * D;
        if (!from->bytes) {
            memcpy(x_D, (const float *)from->samples_ND + rows_B[b] * D, D * sizeof(float));
            continue;
        }
        const uint8_t *image_D = (const uint8_t *)from->samples_ND + rows_B[b] * D;
        const uint8_t *coming_D = (const uint8_t *)from->samples_ND + rows_B[b + AHEAD < B ? b + AHEAD : b] * D;
        for (int64_t d = 0; d < D; d += CACHE_LINE) __builtin_prefetch(coming_D + d); /* it lies anywhere in 47 MB */
        for (int64_t d = 0; d < D; d++) {
            float pixel = image_D[d];
            x_D[d] = pixel * high + pixel * low;
        }
    }
}

/* C = op(A) op(B), all of them by rows: BLAS has columns, so it computes Cᵀ = op(B)ᵀ op(A)ᵀ. */
static void product(Gemm *gemm, char a_transposed, char b_transposed, int64_t rows, int64_t columns, int64_t inner,
                    const float *a, const float *b, float *c) {
    int m = columns, n = rows, k = inner, lda = b_transposed == 'T' ? k : m, ldb = a_transposed == 'T' ? n : k;
    const float one = 1, zero = 0;
    gemm(&b_transposed, &a_transposed, &m, &n, &k, &one, b, &lda, a, &ldb, &zero, c, &m);
}

/* z = z + b; ∂b = Σ d is collected by `add_columns` */
VERSIONS static void add_bias(const float *bias_E, int64_t B, int64_t E, float *restrict z_BE) {
    for (int64_t b = 0; b < B; b++)
        for (int64_t e = 0; e < E; e++) z_BE[b * E + e] += bias_E[e];
}

/* h = φ(z), where h may be z */
VERSIONS static void activate(int64_t function, const float *given, const float *z, int64_t n, float *h) {
    const float option[3] = {given[0], given[1], given[2]};
#define UP(f)                \
    _Pragma("omp simd")      \
    for (int64_t i = 0; i < n; i++) h[i] = activation(f, option, z[i]);
    FOR_EACH_FUNCTION(UP)
}

/* d = d φ′ */
VERSIONS static void activate_back(int64_t function, const float *given, const float *h, int64_t n, float *restrict d) {
    const float option[3] = {given[0], given[1], given[2]};
#define DOWN(f) for (int64_t i = 0; i < n; i++) d[i] = derivative(f, option, h[i], d[i]);
    FOR_EACH_FUNCTION(DOWN)
}

/* y = γ (x − μ)/σ + β: batch norm (Ioffe & Szegedy 2015, algorithm 1), and with one μ and σ for all features, unbiased
 * and without γ and β, the published (x − mean)/std. */
VERSIONS static void normalise(const Module *m, const float *x_BE, int64_t B, float *restrict y_BE) {
    const float *mean_E = m->mean_E, *inverse_E = m->inverse_E, *scale_E = m->weight.value, *shift_E = m->bias.value;
    int64_t E = m->out;
    for (int64_t b = 0; b < B; b++, x_BE += E, y_BE += E) {
        for (int64_t e = 0; e < E; e++) y_BE[e] = (x_BE[e] - mean_E[e]) * inverse_E[e];
        for (int64_t e = 0; scale_E && e < E; e++) y_BE[e] = y_BE[e] * scale_E[e] + shift_E[e];
    }
}

/* dx = f (d − c − s (x − μ)), by what `batch_norm_back` and `standardise_back` put into row: f, s, c. What is nearly
 * equal is subtracted before it is scaled: in a small batch almost nothing is left. */
VERSIONS static void normalise_back(const Module *m, const float *x_BE, const float *row_E, int64_t B, float *d_BE) {
    int64_t E = m->out;
    const float *mean_E = m->mean_E, *factor_E = row_E, *slope_E = row_E + E, *constant_E = row_E + 2 * E;
    for (int64_t b = 0; b < B; b++, x_BE += E, d_BE += E) {
        float *restrict d = d_BE;
        for (int64_t e = 0; e < E; e++)
            d[e] = (d[e] - constant_E[e] - (x_BE[e] - mean_E[e]) * slope_E[e]) * factor_E[e];
    }
}

/* Of a batch norm, from Σ (x − c) and Σ (x − c)² over the batch, c as it is in `mean`: μ and 1/σ, σ² = Var[x] + ε. The
 * running statistics follow by the momentum, with the unbiased variance, as PyTorch's do. */
static void batch_norm(Module *m, int64_t B, const double *sum_E, const double *square_E, int training) {
    const float rate = m->option[1];
    for (int64_t e = 0; e < m->out; e++) {
        double mean = m->mean_E[e] + sum_E[e] / B, var = square_E[e] / B - sum_E[e] / B * (sum_E[e] / B);
        m->mean_E[e] = mean;
        m->inverse_E[e] = 1 / sqrt(var + m->option[0]);
        if (!training || !m->running_mean) continue;
        m->running_mean[e] = (1 - rate) * m->running_mean[e] + rate * (float)mean;
        m->running_var[e] = (1 - rate) * m->running_var[e] + rate * (float)(var * B / (B - 1.0));
    }
}

/* At evaluation, from the running statistics. */
static void batch_norm_running(Module *m) {
    for (int64_t e = 0; e < m->out; e++) {
        m->mean_E[e] = m->running_mean[e];
        m->inverse_E[e] = 1 / sqrt((double)m->running_var[e] + m->option[0]);
    }
}

/* ∂γ = Σ d x̂, ∂β = Σ d, from Σ d and Σ d (x − μ) over the batch; f = γ/σ, and where μ and σ depend on x,
 * s = mean(d x̂)/σ, c = mean(d) */
static void batch_norm_back(Module *m, int64_t B, const double *sum_E, const double *product_E, float *row_E) {
    int64_t E = m->out, own = m->own_statistics & IN_TRAINING;
    for (int64_t e = 0; e < E; e++) {
        double inverse = m->inverse_E[e], along = product_E[e] * inverse;
        if (m->weight.gradient) m->weight.gradient[e] = along;
        if (m->bias.gradient) m->bias.gradient[e] = sum_E[e];
        row_E[e] = inverse * (m->weight.value ? m->weight.value[e] : 1);
        row_E[E + e] = own ? along / B * inverse : 0;
        row_E[2 * E + e] = own ? sum_E[e] / B : 0;
    }
}

/* The same of (x − mean)/std: each feature's sums are joined to those over all n elements. */
static void standardise(Module *m, int64_t B, const double *sum_E, const double *square_E) {
    int64_t E = m->out;
    double n = B * E, mean = 0, squares = 0;
    for (int64_t e = 0; e < E; e++) mean += (m->mean_E[e] * (double)B + sum_E[e]) / n;
    for (int64_t e = 0; e < E; e++) {
        double away = m->mean_E[e] + sum_E[e] / B - mean;
        squares += square_E[e] - sum_E[e] / B * sum_E[e] + B * away * away;
    }
    for (int64_t e = 0; e < E; e++) {
        m->mean_E[e] = mean;
        m->inverse_E[e] = 1 / sqrt(squares / (n - 1));
    }
}

/* f = 1/std, s = Σ d y/(n − 1)/std, c = mean(d) */
static void standardise_back(const Module *m, int64_t B, const double *sum_E, const double *product_E, float *row_E) {
    int64_t E = m->out;
    double n = B * E, sum = 0, product = 0, inverse = m->inverse_E[0];
    for (int64_t e = 0; e < E; e++) {
        sum += sum_E[e];
        product += product_E[e];
    }
    for (int64_t e = 0; e < E; e++) {
        row_E[e] = inverse;
        row_E[E + e] = product * inverse / (n - 1) * inverse;
        row_E[2 * E + e] = sum / n;
    }
}

VERSIONS static void add(const float *x, const float *y, int64_t n, float *sum) {
    for (int64_t i = 0; i < n; i++) sum[i] = x[i] + y[i];
}

/* Cross-entropy, mean over the batch: −log softmax(x)_label; its gradient (softmax − onehot)/B; and how many are
 * right. The sum over a row is in `exponential`'s range, as the largest of its terms is 1. */
VERSIONS static double cross_entropy(const float *x_BE, const int64_t *labels_B, int64_t B, int64_t E, float *d_BE,
                                     int64_t *right) {
    const float share = 1.0f / B;
    double loss = 0;
    for (int64_t b = 0; b < B; b++) {
        const float *x = x_BE + b * E;
        float *restrict d = d_BE + b * E, most = x[0], sum = 0, rest;
        int64_t at = 0;
        for (int64_t e = 1; e < E; e++)
            if (x[e] > most || (x[e] != x[e] && most == most)) most = x[e], at = e; /* or the first NaN */
        for (int64_t e = 0; e < E; e++) d[e] = exponential(x[e] - most, &rest);
        for (int64_t e = 0; e < E; e++) sum += d[e];
        loss += logf(sum) - (x[labels_B[b]] - most);
        for (int64_t e = 0; e < E; e++) d[e] *= 1.0f / sum;
        d[labels_B[b]] -= 1.0f;
        for (int64_t e = 0; e < E; e++) d[e] *= share; /* of all alike: no error of its own between p and 1 */
        *right += at == labels_B[b];
    }
    return loss / B;
}
