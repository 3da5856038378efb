/* Steps of a multilayer perceptron: batch, forward, cross-entropy, backward, measurement, update; many in one call.
 *
 * B batch, D features in, E features out, S measured steps, n = B·D elements, one after another. A network is an
 * array of links, each on the output of the one before. Matrix products are the BLAS's that PyTorch brings; what stands
 * between two of them is one pass over memory. Sums over a batch are kept in double.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__)
/* "avx2" alone would be without fused multiplication and addition */
#define VERSIONS __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define VERSIONS
#endif
#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 4096, LANES = 64, AHEAD = 4, CACHE_LINE = 64, ROWS = 32 };
enum { LINEAR, ACTIVATION, BATCH_NORM, STANDARDIZE, PUT, ADD };
enum { SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SILU, HARDTANH };
enum { SGD, ADAM, ADAMW };
enum { Z_MEAN, Z_STD, SATURATED, DEAD, H_MEAN, H_STD, H_RMS, SPREAD, D_RMS, D_NORM, GRADIENT, UPDATE, WEIGHT, COLUMNS };
static const double LEAST = 1e-30, MOST = 1e30; /* variances that squares in float can tell */

typedef void Gemm(const char *, const char *, const int *, const int *, const int *, const float *, const float *,
                  const int *, const float *, const int *, const float *, float *, const int *);

/* A parameter, its gradient, and what the optimizer keeps of it (momentum; or both moments of Adam). */
typedef struct {
    float *value, *gradient, *first, *second;
    int64_t size;
} Parameter;

typedef struct {
    int64_t kind, function; /* of an activation */
    int64_t in, out;
    int64_t own_statistics; /* of a batch norm, bit 0 in training, bit 1 at evaluation: those of the batch */
    int64_t needs_input;    /* an activation whose derivative is one of its input */
    int64_t wire;           /* of a skip */
    int64_t z_site, h_site, layer; /* which layer's pre-activation is its output, activation, weight is its own; or −1 */
    float low, high;        /* between which an activation is not flat, of its output or of its input */
    float option[3];        /* of an activation; epsilon and momentum of a batch norm */
    Parameter weight, bias; /* or scale and shift; without a gradient they are frozen, without a value there is none */
    float *running_mean, *running_var;
    float *output_BE;
    float *mean_E, *inverse_E; /* of a batch norm and of a standardisation, as they were forward */
} Link;

typedef struct {
    int64_t kind, nesterov;
    double rate, momentum, decay, beta1, beta2, epsilon;
    int64_t steps; /* taken so far */
} Optimizer;

typedef struct {
    int64_t links, first, sites, classes; /* `first`: the first link that has something to train */
    Link *link;
    int64_t *labels_B;
    Gemm *gemm;
    Optimizer optimizer;
    float *input_BD, *down_BD[2]; /* gradients on their way down are read from one and written to the other */
    const float **carried_up;
    float **carried_down_BD; /* by wire */
    double *column_E;                      /* scratch, twice as wide as the widest layer */
    float *row_E;                          /* and three times */
    const float *nothing_E;                /* zeros, as many as the widest layer has units */
} Network;

/* Batches of samples that lie anywhere; bytes are pixels, scaled to 0…1. */
typedef struct {
    const void *samples_ND;
    const int64_t *labels_N, *order_M;
    int64_t bytes, size, batch;
} Stretch;

/* ---- elementary functions: vectorised, exact to a few units in the last place, NaN and infinity pass through ---- */

INLINE float bits(int32_t i) {
    float f;
    memcpy(&f, &i, 4);
    return f;
}

/* e^x = 2^k · e^r, |r| ≤ ln 2 / 2, with e^r = 1 + r + r² P(r): P and the two parts of ln 2 are those of Cephes' expf
 * (Moshier 1989). 2^k comes in two halves, so that what is tiny or overflows is rounded as any product is.
 */
INLINE float exponential(float x, float *minus_one) {
    const float shift = 12582912.0f; /* 1.5·2²³: adding it rounds to an integer */
    x = x < -105.0f ? -105.0f : x > 90.0f ? 90.0f : x;
    float shifted = x * 1.44269504f + shift, k = shifted - shift;
    int32_t i;
    memcpy(&i, &shifted, 4);
    i -= 0x4B400000;
    float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    int32_t half = i >> 1;
    float value = (p + 1.0f) * bits((half + 127) * 0x800000) * bits((i - half + 127) * 0x800000);
    *minus_one = i == 0 ? p : value - 1.0f;
    return value;
}

INLINE float sigmoid(float z) {
    float rest;
    return 1.0f / (1.0f + exponential(-z, &rest));
}

/* tanh z = m / (m + 2), m = e^{2z} − 1 */
INLINE float hyperbolic(float z) {
    float m, size = fabsf(z);
    exponential(2.0f * (size > 10.0f ? 10.0f : size), &m);
    return copysignf(m / (m + 2.0f), z);
}

INLINE float activation(int64_t function, const float *option, float z) {
    float m;
    switch (function) {
        case SIGMOID: return sigmoid(z);
        case TANH: return hyperbolic(z);
        case RELU: return z < 0.0f ? 0.0f : z;
        case LEAKY_RELU: return z > 0.0f ? z : z * option[0];
        case ELU: /* scale · (z, or α (e^{cz} − 1)) */
            exponential(z * option[2], &m);
            return z > 0.0f ? z * option[1] : m * option[0] * option[1];
        case SILU: return z * sigmoid(z);
        default: return z < option[0] ? option[0] : z > option[1] ? option[1] : z;
    }
}

/* d · φ′, from h = φ(z), or for SiLU from z; selected rather than multiplied by 0, so that an infinite d stays out */
INLINE float derivative(int64_t function, const float *option, float h, float d) {
    switch (function) {
        case SIGMOID: return d * ((1.0f - h) * h);
        case TANH: return d * (1.0f - h * h);
        case RELU: return h <= 0.0f ? 0.0f : d;
        case LEAKY_RELU: return h > 0.0f ? d : d * option[0];
        case ELU: return h > 0.0f ? d * option[1] : d * option[2] * (h + option[0] * option[1]);
        case SILU: {
            float s = sigmoid(h);
            return d * (s * (1.0f + h * (1.0f - s)));
        }
        default: return h <= option[0] || h >= option[1] ? 0.0f : d;
    }
}

/* One loop for each function: which one it is, is decided outside of the loop. */
#define FOR_EACH_FUNCTION(loop)                        \
    switch (function) {                                \
        case SIGMOID: loop(SIGMOID) break;             \
        case TANH: loop(TANH) break;                   \
        case RELU: loop(RELU) break;                   \
        case LEAKY_RELU: loop(LEAKY_RELU) break;       \
        case ELU: loop(ELU) break;                     \
        case SILU: loop(SILU) break;                   \
        default: loop(HARDTANH) break;                 \
    }

/* h = φ(z + b), where h may be z */
VERSIONS static void activate(int64_t function, const float *given, const float *z_BE, const float *bias_E, int64_t B,
                              int64_t E, float *h_BE) {
    const float option[3] = {given[0], given[1], given[2]};
    for (int64_t b = 0; b < B; b++) {
        const float *z = z_BE + b * E;
        float *h = h_BE + b * E;
#define UP(f) for (int64_t e = 0; e < E; e++) h[e] = activation(f, option, z[e] + bias_E[e]);
        FOR_EACH_FUNCTION(UP)
    }
}

/* d = d φ′ */
VERSIONS static void deactivate(int64_t function, const float *given, const float *h, int64_t n, float *restrict d) {
    const float option[3] = {given[0], given[1], given[2]};
#define DOWN(f) for (int64_t i = 0; i < n; i++) d[i] = derivative(f, option, h[i], d[i]);
    FOR_EACH_FUNCTION(DOWN)
}

/* ---- sums ---- */

/* Σ over the batch of each column, in double: floats over so many rows, then joined. */
VERSIONS static void column_sums(const float *x_BE, int64_t B, int64_t E, double *sum_E) {
    float part[256];
    memset(sum_E, 0, E * sizeof(double));
    for (int64_t at = 0; at < E; at += 256) {
        int64_t width = E - at < 256 ? E - at : 256;
        for (int64_t from = 0; from < B; from += ROWS) {
            int64_t to = from + ROWS < B ? from + ROWS : B;
            memcpy(part, x_BE + from * E + at, width * sizeof(float));
            for (int64_t b = from + 1; b < to; b++)
                for (int64_t e = 0; e < width; e++) part[e] += x_BE[b * E + at + e];
            for (int64_t e = 0; e < width; e++) sum_E[at + e] += part[e];
        }
    }
}

/* Mean and biased variance of each column. */
VERSIONS static void column_statistics(const float *x_BE, int64_t B, int64_t E, double *mean_E, double *var_E) {
    column_sums(x_BE, B, E, mean_E);
    for (int64_t e = 0; e < E; e++) mean_E[e] /= B;
    memset(var_E, 0, E * sizeof(double));
    for (int64_t b = 0; b < B; b++)
        for (int64_t e = 0; e < E; e++) {
            double away = x_BE[b * E + e] - mean_E[e];
            var_E[e] += away * away;
        }
    for (int64_t e = 0; e < E; e++) var_E[e] /= B;
}

/* Σ x and Σ x y over all elements */
VERSIONS static double dot(const float *x, const float *y, int64_t n, double *sum) {
    double along = 0, all = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t count = n - at < BLOCK ? n - at : BLOCK;
        float one = 0, two = 0;
        #pragma omp simd reduction(+ : one, two)
        for (int64_t i = 0; i < count; i++) {
            one += x[at + i];
            two += x[at + i] * y[at + i];
        }
        all += one;
        along += two;
    }
    *sum = all;
    return along;
}

/* ---- what is measured ---- */

INLINE float sum_of(const float *lanes) {
    float sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

/* Σ (x − centre), and Σ (x − centre)² */
INLINE float sums(const float *x, int64_t n, float centre, float *squares) {
    float one[LANES] = {0}, two[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float centred = x[i + j] - centre;
            one[j] += centred;
            two[j] += centred * centred;
        }
    for (int j = 0; i < n; i++, j++) {
        one[j] += x[i] - centre;
        two[j] += (x[i] - centre) * (x[i] - centre);
    }
    *squares = sum_of(two);
    return sum_of(one);
}

/* What fraction of z is outside of low…high, and what fraction of the features is there, at one side, for the whole
 * batch.
 */
VERSIONS static void flat(const float *z_BD, int64_t B, int64_t D, float low, float high, double *saturated, double *dead) {
    float *least_D = malloc(2 * D * sizeof(float)), *most_D = least_D + D;
    int64_t lost = 0, outside = 0;
    *saturated = *dead = NAN;
    if (!least_D) return;
    memcpy(least_D, z_BD, D * sizeof(float));
    memcpy(most_D, z_BD, D * sizeof(float));
    for (int64_t b = 1; b < B; b++)
        for (int64_t d = 0; d < D; d++) {
            float z = z_BD[b * D + d];
            least_D[d] = z < least_D[d] ? z : least_D[d];
            most_D[d] = z > most_D[d] ? z : most_D[d];
        }
    for (int64_t d = 0; d < D; d++) {
        lost += ((low > -INFINITY) & (most_D[d] <= low)) | ((high < INFINITY) & (least_D[d] >= high));
        outside += (least_D[d] < low) | (most_D[d] > high);
    }
    free(least_D);
    *dead = (double)lost / D;
    *saturated = 0;
    for (int64_t at = 0; outside && at < B * D; at += BLOCK) { /* counting takes long, and is seldom needed */
        int count = 0;
        int64_t end = at + BLOCK < B * D ? at + BLOCK : B * D;
        for (int64_t i = at; i < end; i++) count += (z_BD[i] < low) | (z_BD[i] > high);
        *saturated += (double)count / (B * D);
    }
}

/* Mean, biased standard deviation and rms. The mean is subtracted before anything is squared: E[x²] − E[x]² would
 * cancel. So that x is read once, it is the mean of the blocks so far, and each block is then joined to them
 * (Chan, Golub & LeVeque 1983, eq. 2.1).
 */
VERSIONS static void moments(const float *x, int64_t n, double *mean, double *std, double *rms) {
    double all = 0;
    *mean = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t count = at + BLOCK < n ? BLOCK : n - at;
        float squares, centre = at ? *mean : sums(x, count, 0, &squares) / count;
        double rest = sums(x + at, count, centre, &squares) / count;
        double away = centre + rest - *mean;
        all += squares - rest * rest * count + away * away * count * at / (at + count);
        *mean += away * count / (at + count);
    }
    *std = sqrt(all / n);
    *rms = sqrt(*mean * *mean + all / n);
    if (all / n > LEAST && all / n < MOST) return;

    /* A gradient that has vanished has squares below the smallest float, one that explodes above the largest. */
    double sum = 0, power = 0, spread = 0;
    #pragma omp simd reduction(+ : sum, power)
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        power += (double)x[i] * x[i];
    }
    double exact = sum / n;
    #pragma omp simd reduction(+ : spread)
    for (int64_t i = 0; i < n; i++) spread += (x[i] - exact) * (x[i] - exact);
    *mean = exact;
    *std = sqrt(spread / n);
    *rms = sqrt(power / n);
}

/* √ mean (x − x̄)², x̄ the mean over the batch. Sample 0 is subtracted first: the mean of close numbers is rounded. */
VERSIONS static void spread(const float *x_BD, int64_t B, int64_t D, double *found) {
    double all = 0;
    float *rest_D = calloc(D, sizeof(float)); /* x̄ − x_0 */
    *found = NAN;
    if (!rest_D) return;
    for (int64_t b = 0; b < B; b++)
        for (int64_t d = 0; d < D; d++) rest_D[d] += x_BD[b * D + d] - x_BD[d];
    for (int64_t d = 0; d < D; d++) rest_D[d] /= B;
    for (int64_t b = 0; b < B; b++) {
        float squares = 0;
        #pragma omp simd reduction(+ : squares)
        for (int64_t d = 0; d < D; d++) {
            float away = x_BD[b * D + d] - x_BD[d] - rest_D[d];
            squares += away * away;
        }
        all += squares;
    }
    if (!(all / (B * D) > LEAST && all / (B * D) < MOST)) { /* as in `moments` */
        all = 0;
        for (int64_t b = 0; b < B; b++)
            for (int64_t d = 0; d < D; d++) {
                double away = (double)x_BD[b * D + d] - x_BD[d] - rest_D[d];
                all += away * away;
            }
    }
    free(rest_D);
    *found = sqrt(all / (B * D));
}

/* ---- links ---- */

VERSIONS static void gather(const Stretch *from, const int64_t *rows_B, int64_t B, int64_t D, float *restrict x_BD) {
    for (int64_t b = 0; b < B; b++) {
        float *x_D = x_BD + b * D;
        if (!from->bytes) {
            memcpy(x_D, (const float *)from->samples_ND + rows_B[b] * D, D * sizeof(float));
            continue;
        }
        const uint8_t *image_D = (const uint8_t *)from->samples_ND + rows_B[b] * D;
        const uint8_t *coming_D = (const uint8_t *)from->samples_ND + rows_B[b + AHEAD < B ? b + AHEAD : b] * D;
        for (int64_t d = 0; d < D; d += CACHE_LINE) __builtin_prefetch(coming_D + d); /* they lie anywhere in 47 MB */
        for (int64_t d = 0; d < D; d++) x_D[d] = (float)image_D[d] / 255.0f;
    }
}

/* C = op(A) op(B), all of them by rows: BLAS has columns, so it computes Cᵀ = op(B)ᵀ op(A)ᵀ. */
static void product(Gemm *gemm, char a_turned, char b_turned, int64_t rows, int64_t columns, int64_t inner,
                    const float *a, const float *b, float *c) {
    int m = columns, n = rows, k = inner, lda = b_turned == 'T' ? k : m, ldb = a_turned == 'T' ? n : k;
    const float one = 1, zero = 0;
    gemm(&b_turned, &a_turned, &m, &n, &k, &one, b, &lda, a, &ldb, &zero, c, &m);
}

VERSIONS static void add_bias(float *restrict z_BE, const float *bias_E, int64_t B, int64_t E) {
    for (int64_t b = 0; b < B; b++)
        for (int64_t e = 0; e < E; e++) z_BE[b * E + e] += bias_E[e];
}

VERSIONS static void add(const float *x, const float *y, int64_t n, float *sum) {
    for (int64_t i = 0; i < n; i++) sum[i] = x[i] + y[i];
}

/* y = γ (x − μ)/σ + β, σ² = Var[x] + ε, over the batch (Ioffe & Szegedy 2015, algorithm 1); the running statistics
 * follow by the momentum, with the unbiased variance, as PyTorch's do. */
VERSIONS static void normalise(Link *l, const float *x_BE, int64_t B, double *scratch_E, int training) {
    int64_t E = l->out;
    float *mean_E = l->mean_E, *inverse_E = l->inverse_E;
    if (l->own_statistics & (training ? 1 : 2)) {
        double *exact_E = scratch_E, *var_E = scratch_E + E;
        column_statistics(x_BE, B, E, exact_E, var_E);
        for (int64_t e = 0; e < E; e++) {
            mean_E[e] = exact_E[e];
            inverse_E[e] = 1 / sqrt(var_E[e] + l->option[0]);
        }
        float rate = l->option[1];
        for (int64_t e = 0; training && l->running_mean && e < E; e++) {
            l->running_mean[e] = (1 - rate) * l->running_mean[e] + rate * (float)exact_E[e];
            l->running_var[e] = (1 - rate) * l->running_var[e] + rate * (float)(var_E[e] * B / (B - 1.0));
        }
    } else
        for (int64_t e = 0; e < E; e++) {
            mean_E[e] = l->running_mean[e];
            inverse_E[e] = 1 / sqrt((double)l->running_var[e] + l->option[0]);
        }
    const float *scale_E = l->weight.value, *shift_E = l->bias.value;
    for (int64_t b = 0; b < B; b++) {
        const float *x = x_BE + b * E;
        float *restrict y = l->output_BE + b * E;
        for (int64_t e = 0; e < E; e++) y[e] = (x[e] - mean_E[e]) * inverse_E[e];
        for (int64_t e = 0; scale_E && e < E; e++) y[e] = y[e] * scale_E[e] + shift_E[e];
    }
}

/* dx = γ/σ (d − mean d − x̂ mean(d x̂)), dγ = Σ d x̂, dβ = Σ d; where the statistics do not depend on x, dx = γ/σ d */
VERSIONS static void normalise_back(Link *l, const float *x_BE, int64_t B, double *scratch_E, float *row_E,
                                    float *d_BE) {
    int64_t E = l->out;
    const float *mean_E = l->mean_E, *inverse_E = l->inverse_E;
    double *restrict sum_E = scratch_E, *restrict along_E = scratch_E + E;
    column_sums(d_BE, B, E, sum_E);
    memset(along_E, 0, E * sizeof(double));
    for (int64_t b = 0; b < B; b++)
        for (int64_t e = 0; e < E; e++)
            along_E[e] += (double)d_BE[b * E + e] * ((x_BE[b * E + e] - mean_E[e]) * inverse_E[e]);
    if (l->weight.gradient)
        for (int64_t e = 0; e < E; e++) {
            l->weight.gradient[e] = along_E[e];
            l->bias.gradient[e] = sum_E[e];
        }
    float *restrict mean_d_E = row_E, *restrict slope_E = row_E + E, *restrict factor_E = row_E + 2 * E;
    int own = l->own_statistics & 1;
    for (int64_t e = 0; e < E; e++) mean_d_E[e] = own ? sum_E[e] / B : 0;
    for (int64_t e = 0; e < E; e++) slope_E[e] = own ? along_E[e] / B : 0;
    for (int64_t e = 0; e < E; e++) factor_E[e] = inverse_E[e] * (l->weight.value ? l->weight.value[e] : 1.0f);
    for (int64_t b = 0; b < B; b++) {
        const float *x = x_BE + b * E;
        float *restrict d = d_BE + b * E;
        for (int64_t e = 0; e < E; e++)
            d[e] = (d[e] - mean_d_E[e] - (x[e] - mean_E[e]) * inverse_E[e] * slope_E[e]) * factor_E[e];
    }
}

/* y = (x − mean)/s over the whole batch, s² unbiased: the published layer */
VERSIONS static void standardise(Link *l, const float *x, int64_t n) {
    double mean, std, rms;
    moments(x, n, &mean, &std, &rms);
    l->mean_E[0] = mean;
    l->inverse_E[0] = 1 / (std * sqrt(n / (n - 1.0)));
    for (int64_t i = 0; i < n; i++) l->output_BE[i] = (x[i] - l->mean_E[0]) * l->inverse_E[0];
}

/* dx = (d − mean d − y Σ(d y)/(n − 1)) / s */
VERSIONS static void standardise_back(const Link *l, int64_t n, float *restrict d) {
    double sum, along = dot(d, l->output_BE, n, &sum);
    float mean = sum / n, slope = along / (n - 1.0), inverse = l->inverse_E[0];
    for (int64_t i = 0; i < n; i++) d[i] = (d[i] - mean - l->output_BE[i] * slope) * inverse;
}

/* Cross-entropy, mean over the batch: −log softmax(x)_label; its gradient (softmax − onehot)/B; and who is right. */
VERSIONS static double cross_entropy(const float *x_BE, const int64_t *labels_B, int64_t B, int64_t E, float *d_BE,
                                     int64_t *right) {
    double loss = 0;
    for (int64_t b = 0; b < B; b++) {
        const float *x = x_BE + b * E;
        float *d = d_BE + b * E, most = x[0], sum = 0, rest;
        int64_t at = 0;
        for (int64_t e = 1; e < E; e++)
            if (x[e] > most || x[e] != x[e]) most = x[e], at = e;
        for (int64_t e = 0; e < E; e++) sum += d[e] = exponential(x[e] - most, &rest);
        loss += logf(sum) - (x[labels_B[b]] - most);
        float scale = 1.0f / sum;
        for (int64_t e = 0; e < E; e++) d[e] = d[e] * scale / B;
        d[labels_B[b]] -= 1.0f / B;
        *right += at == labels_B[b];
    }
    return loss / B;
}

/* ---- a step ---- */

static const float *forward(Network *net, const float *h, int64_t B, int training, double *row) {
    for (int64_t i = 0; i < net->links; i++) {
        Link *l = net->link + i;
        int64_t n = B * l->out;
        float *out = l->output_BE;
        Link *next = i + 1 < net->links ? l + 1 : NULL;
        double *z = row && l->z_site >= 0 ? row + l->z_site * COLUMNS : NULL;
        double *a = row && l->h_site >= 0 ? row + l->h_site * COLUMNS : NULL;
        switch (l->kind) {
            case LINEAR:
                product(net->gemm, 'N', 'T', B, l->out, l->in, h, l->weight.value, out);
                if (l->bias.value) {
                    /* in the same pass as the activation, unless somebody wants to see what is in between */
                    if (!z && next && next->kind == ACTIVATION && !next->needs_input) {
                        activate(next->function, next->option, out, l->bias.value, B, l->out, next->output_BE);
                        l = next;
                        out = l->output_BE;
                        i++;
                        a = row && l->h_site >= 0 ? row + l->h_site * COLUMNS : NULL;
                    } else
                        add_bias(out, l->bias.value, B, l->out);
                }
                break;
            case ACTIVATION: activate(l->function, l->option, h, net->nothing_E, B, l->out, out); break;
            case BATCH_NORM: normalise(l, h, B, net->column_E, training); break;
            case STANDARDIZE: standardise(l, h, n); break;
            case PUT: net->carried_up[l->wire] = h; out = (float *)h; break;
            default: add(h, net->carried_up[l->wire], n, out);
        }
        if (z) { /* `low` and `high` are of z */
            double rms;
            moments(out, n, z + Z_MEAN, z + Z_STD, &rms);
            z[SATURATED] = z[DEAD] = isnan(z[Z_MEAN]) ? NAN : 0; /* nobody knows on which side it is */
            if (!isnan(z[Z_MEAN]) && (l->low > -INFINITY || l->high < INFINITY))
                flat(out, B, l->out, l->low, l->high, z + SATURATED, z + DEAD);
        }
        if (a) {
            moments(out, n, a + H_MEAN, a + H_STD, a + H_RMS);
            spread(out, B, l->out, a + SPREAD);
        }
        h = out;
    }
    return h;
}

static void backward(Network *net, int64_t B, float *d, double *row) {
    for (int64_t i = net->links - 1; i >= net->first; i--) {
        Link *l = net->link + i;
        const float *x = i ? l[-1].output_BE : net->input_BD;
        int64_t n = B * l->out;
        if (row && l->z_site >= 0) {
            double *of = row + l->z_site * COLUMNS, mean, std;
            moments(d, n, &mean, &std, of + D_RMS);
            of[D_NORM] = of[D_RMS] * sqrt(n);
        }
        switch (l->kind) {
            case LINEAR: {
                if (l->weight.gradient) product(net->gemm, 'T', 'N', l->out, l->in, B, d, x, l->weight.gradient);
                if (l->bias.gradient) {
                    column_sums(d, B, l->out, net->column_E);
                    for (int64_t e = 0; e < l->out; e++) l->bias.gradient[e] = net->column_E[e];
                }
                if (i > net->first) {
                    float *other = net->down_BD[d == net->down_BD[0]];
                    product(net->gemm, 'N', 'N', B, l->in, l->out, d, l->weight.value, other);
                    d = other;
                }
                break;
            }
            case ACTIVATION: deactivate(l->function, l->option, l->needs_input ? x : l->output_BE, n, d); break;
            case BATCH_NORM: normalise_back(l, x, B, net->column_E, net->row_E, d); break;
            case STANDARDIZE: standardise_back(l, n, d); break;
            case PUT: add(d, net->carried_down_BD[l->wire], n, d); break;
            default: memcpy(net->carried_down_BD[l->wire], d, n * sizeof(float));
        }
    }
}

/* ---- updates ---- */

/* w −= rate · g, g = ∂loss/∂w + decay · w; with momentum as in torch.optim.SGD: m = μ m + g, and m in place of g, or
 * g + μ m by Nesterov. The sums of (Δw)² and w² where somebody wants to `look`. */
INLINE void descend(const Optimizer *o, const Parameter *p, int look, double *moved, double *size) {
    const float rate = o->rate, momentum = o->momentum, decay = o->decay, *gradient = p->gradient;
    float *restrict w = p->value, *restrict m = p->first;
    double step = 0, before = 0;
    #pragma omp simd reduction(+ : step, before)
    for (int64_t i = 0; i < p->size; i++) {
        float g = gradient[i] + decay * w[i], along = g;
        if (m) {
            m[i] = momentum * m[i] + g;
            along = o->nesterov ? g + momentum * m[i] : m[i];
        }
        float after = w[i] - rate * along;
        if (look) {
            step += ((double)after - w[i]) * ((double)after - w[i]);
            before += (double)w[i] * w[i];
        }
        w[i] = after;
    }
    *moved = step;
    *size = before;
}

/* Kingma & Ba 2015, algorithm 1, as torch.optim.Adam rounds it: m += (1 − β₁)(g − m), v = β₂ v + (1 − β₂) g²,
 * w −= rate/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε). The decay goes into g, or by AdamW (Loshchilov & Hutter 2019) off w. */
INLINE void adapt(const Optimizer *o, const Parameter *p, int look, double *moved, double *size) {
    const float decay = o->kind == ADAM ? o->decay : 0, keep = o->kind == ADAMW ? 1 - o->rate * o->decay : 1;
    const float rest1 = 1 - o->beta1, beta2 = o->beta2, rest2 = 1 - o->beta2, epsilon = o->epsilon;
    const float rate = o->rate / (1 - pow(o->beta1, o->steps)), root = sqrt(1 - pow(o->beta2, o->steps));
    const float *gradient = p->gradient;
    float *restrict w = p->value, *restrict m = p->first, *restrict v = p->second;
    double step = 0, before = 0;
    #pragma omp simd reduction(+ : step, before)
    for (int64_t i = 0; i < p->size; i++) {
        float g = gradient[i] + decay * w[i];
        m[i] += rest1 * (g - m[i]);
        v[i] = v[i] * beta2 + rest2 * (g * g);
        float after = w[i] * keep - rate * (m[i] / (sqrtf(v[i]) / root + epsilon));
        if (look) {
            step += ((double)after - w[i]) * ((double)after - w[i]);
            before += (double)w[i] * w[i];
        }
        w[i] = after;
    }
    *moved = step;
    *size = before;
}

VERSIONS static void update(const Optimizer *o, const Parameter *p, double *moved, double *size) {
    double one, two;
    if (!p->value || !p->gradient) return;
    if (o->kind == SGD) {
        if (moved) descend(o, p, 1, &one, &two);
        else
            descend(o, p, 0, &one, &two);
    } else if (!moved)
        adapt(o, p, 0, &one, &two);
    else
        adapt(o, p, 1, &one, &two);
    if (moved) {
        *moved = sqrt(one);
        *size = sqrt(two);
    }
}

static void improve(Network *net, double *row) {
    net->optimizer.steps++;
    for (int64_t i = net->first; i < net->links; i++) {
        Link *l = net->link + i;
        double *of = row && l->layer >= 0 ? row + l->layer * COLUMNS : NULL;
        if (of && l->weight.gradient) {
            double mean, std, rms;
            moments(l->weight.gradient, l->weight.size, &mean, &std, &rms);
            of[GRADIENT] = rms * sqrt(l->weight.size);
        }
        update(&net->optimizer, &l->weight, of ? of + UPDATE : NULL, of ? of + WEIGHT : NULL);
        update(&net->optimizer, &l->bias, NULL, NULL);
    }
}

/* ---- what Python calls ---- */

/* Steps over a stretch, the last of which may be of a smaller batch. `measured` says of each whether its row of the
 * table is written, [sites, COLUMNS]. */
void steps(Network *net, const Stretch *on, const uint8_t *measured, double *losses, int64_t *right, double *table) {
    for (int64_t at = 0, step = 0; at < on->size; at += on->batch, step++) {
        const int64_t *rows_B = on->order_M + at;
        int64_t B = on->size - at < on->batch ? on->size - at : on->batch;
        double *row = measured[step] ? table : NULL;
        if (row) table += net->sites * COLUMNS;
        gather(on, rows_B, B, net->link[0].in, net->input_BD);
        const float *out = forward(net, net->input_BD, B, 1, row);
        for (int64_t b = 0; b < B; b++) net->labels_B[b] = on->labels_N[rows_B[b]];
        losses[step] = cross_entropy(out, net->labels_B, B, net->classes, net->down_BD[0], right);
        backward(net, B, net->down_BD[0], row);
        improve(net, row);
    }
}

/* The mean loss over batches and how many are right, without a step. */
double evaluate(Network *net, const Stretch *on, int64_t *right) {
    double loss = 0;
    int64_t batches = 0;
    for (int64_t at = 0; at < on->size; at += on->batch, batches++) {
        const int64_t *rows_B = on->order_M + at;
        int64_t B = on->size - at < on->batch ? on->size - at : on->batch;
        gather(on, rows_B, B, net->link[0].in, net->input_BD);
        const float *out = forward(net, net->input_BD, B, 0, NULL);
        for (int64_t b = 0; b < B; b++) net->labels_B[b] = on->labels_N[rows_B[b]];
        loss += cross_entropy(out, net->labels_B, B, net->classes, net->down_BD[0], right);
    }
    return loss / batches;
}
