/* Passes over memory for which torch needs several, each with a temporary tensor in between.
 *
 * None of them changes what a training gives: `pick` leaves the bits that torch's operators leave, and the
 * others only measure. Sums are kept in as many lanes as keep a processor busy, in float for a block and in
 * double over the blocks.
 *
 * B batch, D features, n = B·D elements, one after another
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { BLOCK = 4096, LANES = 64, AHEAD = 4, CACHE_LINE = 64 };

/* x_BD = images[rows]/255. The rows lie anywhere in 47 MB, so they are asked for before they are needed. */
void pick(const uint8_t *images_ND, const int64_t *rows_B, long B, long D, float *restrict x_BD) {
    for (long b = 0; b < B; b++) {
        const uint8_t *image_D = images_ND + rows_B[b] * D;
        const uint8_t *coming_D = images_ND + rows_B[b + AHEAD < B ? b + AHEAD : b] * D;
        for (long d = 0; d < D; d += CACHE_LINE) __builtin_prefetch(coming_D + d);
        float *x_D = x_BD + b * D;
        for (long d = 0; d < D; d++) x_D[d] = (float)image_D[d] / 255.0f;
    }
}

static float sum_of(const float *lanes) {
    float sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

/* Σ (x − centre), and Σ (x − centre)² */
static inline float sums(const float *x, long n, float centre, float *squares) {
    float one[LANES] = {0}, two[LANES] = {0};
    long i = 0;
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

static void extremes(const float *x_BD, long B, long D, float *restrict least_D, float *restrict most_D) {
    for (long b = 0; b < B; b++)
        for (long d = 0; d < D; d++) {
            float x = x_BD[b * D + d];
            least_D[d] = x < least_D[d] ? x : least_D[d];
            most_D[d] = x > most_D[d] ? x : most_D[d];
        }
}

static double fraction_outside(const float *x, long n, float low, float high) {
    double outside = 0;
    for (long at = 0; at < n; at += BLOCK) {
        int count = 0;
        long end = at + BLOCK < n ? at + BLOCK : n;
        for (long i = at; i < end; i++) count += (x[i] < low) | (x[i] > high);
        outside += count;
    }
    return outside / n;
}

/* Mean, biased standard deviation, rms and norm of all elements; what fraction of them is outside of low…high, and what
 * fraction of the features is there, at one side, for the whole batch.
 *
 * The mean is subtracted before anything is squared: E[x²] − E[x]² would cancel. So that x is read once, it is the mean
 * of the blocks so far, and each block is then joined to them (Chan, Golub & LeVeque 1983, eq. 2.1).
 */
void survey(const float *x_BD, long B, long D, float low, float high, double row[6]) {
    double mean = 0, all = 0, dead = 0;
    int bounded = low > -INFINITY || high < INFINITY, outside = 0;
    float *least_D = malloc(2 * D * sizeof(float)), *most_D = least_D + D;
    for (long d = 0; d < D; d++) least_D[d] = most_D[d] = x_BD[d];

    for (long b = 0, rows = D < BLOCK ? BLOCK / D : 1; b < B; b += rows) {
        const float *x = x_BD + b * D;
        long before = b * D, n = (b + rows < B ? rows : B - b) * D;
        float squares, centre = before ? mean : sums(x, n, 0, &squares) / n;
        double rest = sums(x, n, centre, &squares) / n;
        double away = centre + rest - mean;
        all += squares - rest * rest * n + away * away * n * before / (before + n);
        mean += away * n / (before + n);
        if (bounded) extremes(x, n / D, D, least_D, most_D);
    }

    for (long d = 0; bounded && d < D; d++) {
        dead += (most_D[d] <= low) | (least_D[d] >= high);
        outside |= (most_D[d] > high) | (least_D[d] < low);
    }
    free(least_D);
    row[0] = mean;
    row[1] = sqrt(all < 0 ? 0 : all / (B * D)); /* NaN stays one */
    row[2] = sqrt(mean * mean + row[1] * row[1]);
    row[3] = row[2] * sqrt(B * D);
    row[4] = outside ? fraction_outside(x_BD, B * D, low, high) : 0; /* counting takes long, and is seldom needed */
    row[5] = dead / D;
}

/* ‖after − before‖ / ‖before‖ */
double change(const float *before, const float *after, long n) {
    double moved = 0, size = 0;
    for (long at = 0; at < n; at += BLOCK) {
        float one[LANES] = {0}, two[LANES] = {0};
        long i = at, end = at + BLOCK < n ? at + BLOCK : n;
        for (; i + LANES <= end; i += LANES)
            for (int j = 0; j < LANES; j++) {
                float difference = after[i + j] - before[i + j];
                one[j] += difference * difference;
                two[j] += before[i + j] * before[i + j];
            }
        for (int j = 0; i < end; i++, j++) {
            one[j] += (after[i] - before[i]) * (after[i] - before[i]);
            two[j] += before[i] * before[i];
        }
        moved += sum_of(one);
        size += sum_of(two);
    }
    return sqrt(moved / size);
}
