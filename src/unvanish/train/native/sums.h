/* Sums over a batch. Each is of floats over some thousand elements at most, and then continued in double. */

enum { LANES = 64, ROWS = 32, WIDTH = 256 };
static const double LEAST = 1e-30, MOST = 1e30; /* sums of squares that floats can hold */

INLINE float sum_of(const float *lanes) {
    float sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

INLINE int in_range(double squares) { return squares > LEAST && squares < MOST; }

/* Σ (x − centre), and Σ (x − centre)² */
INLINE double sums(const float *x, int64_t n, float centre, double *squares) {
    float one[LANES] = {0}, two[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float away = x[i + j] - centre;
            one[j] += away;
            two[j] += away * away;
        }
    for (int j = 0; i < n; i++, j++) {
        one[j] += x[i] - centre;
        two[j] += (x[i] - centre) * (x[i] - centre);
    }
    *squares = sum_of(two);
    return sum_of(one);
}

/* Σ (x − centre)² in double */
INLINE double exact_squares(const float *x, int64_t n, double centre) {
    double sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (x[i] - centre) * (x[i] - centre);
    return sum;
}

/* Σ x²: also where it has vanished below what a float can hold, or exploded above. */
VERSIONS static double squares(const float *x, int64_t n) {
    double sum;
    sums(x, n, 0, &sum);
    return in_range(sum) ? sum : exact_squares(x, n, 0);
}

/* Mean, and Σ (x − mean)², of n elements so far. The mean is subtracted before anything is squared: E[x²] − E[x]² would
 * cancel. */
typedef struct {
    double mean, squares;
    int64_t n;
} Moments;

/* Continue with count elements more: Chan, Golub & LeVeque 1983, eq. 2.1. Around the mean so far, x is read once. */
VERSIONS static void add_moments(Moments *so_far, const float *x, int64_t count) {
    double squares, rest, centre;
    centre = so_far->n ? (float)so_far->mean : (float)(sums(x, count, 0, &squares) / count);
    rest = sums(x, count, centre, &squares) / count;
    double around = squares - rest * rest * count;
    if (!in_range(around)) {
        double sum = 0;
        #pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; i++) sum += x[i];
        centre = sum / count, rest = 0;
        around = exact_squares(x, count, centre);
    }
    double away = centre + rest - so_far->mean, n = so_far->n, all = n + count;
    so_far->squares += around + away * away * n * count / all;
    so_far->mean += away * count / all;
    so_far->n = all;
}

/* ---- of each column ---- */

/* Σ x */
VERSIONS static void add_columns(const float *x_BE, int64_t B, int64_t E, double *sum_E) {
    float part[WIDTH];
    for (int64_t at = 0; at < E; at += WIDTH) {
        int64_t width = E - at < WIDTH ? E - at : WIDTH;
        for (int64_t from = 0; from < B; from += ROWS) {
            int64_t to = from + ROWS < B ? from + ROWS : B;
            memset(part, 0, sizeof part);
            for (int64_t b = from; b < to; b++)
                for (int64_t e = 0; e < width; e++) part[e] += x_BE[b * E + at + e];
            for (int64_t e = 0; e < width; e++) sum_E[at + e] += part[e];
        }
    }
}

/* Σ x and Σ x · (y − centre); without x, Σ (y − centre) and Σ (y − centre)² */
VERSIONS static void add_products(const float *x_BE, const float *y_BE, const float *centre_E, int64_t B, int64_t E,
                                  double *sum_E, double *product_E) {
    float one[WIDTH], two[WIDTH];
    for (int64_t at = 0; at < E; at += WIDTH) {
        int64_t width = E - at < WIDTH ? E - at : WIDTH;
        const float *centre = centre_E + at;
        for (int64_t from = 0; from < B; from += ROWS) {
            int64_t to = from + ROWS < B ? from + ROWS : B;
            memset(one, 0, sizeof one);
            memset(two, 0, sizeof two);
            for (int64_t b = from; b < to; b++) {
                const float *y = y_BE + b * E + at;
                if (x_BE) {
                    const float *x = x_BE + b * E + at;
                    for (int64_t e = 0; e < width; e++) {
                        one[e] += x[e];
                        two[e] += x[e] * (y[e] - centre[e]);
                    }
                } else
                    for (int64_t e = 0; e < width; e++) {
                        float away = y[e] - centre[e];
                        one[e] += away;
                        two[e] += away * away;
                    }
            }
            for (int64_t e = 0; e < width; e++) {
                sum_E[at + e] += one[e];
                product_E[at + e] += two[e];
            }
        }
    }
}
