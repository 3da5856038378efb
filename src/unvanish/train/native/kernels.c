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
#include <string.h>

enum { BLOCK = 4096, LANES = 64, AHEAD = 4, CACHE_LINE = 64 };
static const double LEAST = 1e-30, MOST = 1e30; /* variances that squares in float can tell */

/* x_BD = images[rows]/255. The rows lie anywhere in 47 MB, so they are asked for before they are needed. */
void pick(const uint8_t *images_ND, const int64_t *rows_B, int64_t B, int64_t D, float *restrict x_BD) {
    for (int64_t b = 0; b < B; b++) {
        const uint8_t *image_D = images_ND + rows_B[b] * D;
        const uint8_t *coming_D = images_ND + rows_B[b + AHEAD < B ? b + AHEAD : b] * D;
        for (int64_t d = 0; d < D; d += CACHE_LINE) __builtin_prefetch(coming_D + d);
        float *x_D = x_BD + b * D;
        for (int64_t d = 0; d < D; d++) x_D[d] = (float)image_D[d] / 255.0f;
    }
}

static float sum_of(const float *lanes) {
    float sum = 0;
    #pragma omp simd reduction(+ : sum)
    for (int j = 0; j < LANES; j++) sum += lanes[j];
    return sum;
}

/* Σ (x − centre), and Σ (x − centre)² */
static inline float sums(const float *x, int64_t n, float centre, float *squares) {
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
static void flat(const float *z_BD, int64_t B, int64_t D, float low, float high, double *saturated, double *dead) {
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
static void moments(const float *x, int64_t n, double *mean, double *std, double *rms) {
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

/* Mean, std, rms, norm, saturated and dead, in this order: the columns of `Survey` in passes.py. */
void survey(const float *x_BD, int64_t B, int64_t D, float low, float high, double *row) {
    moments(x_BD, B * D, row, row + 1, row + 2);
    row[3] = row[2] * sqrt(B * D);
    row[4] = row[5] = isnan(row[0]) ? NAN : 0; /* of what is not a number nobody knows on which side it is */
    if (!isnan(row[0]) && (low > -INFINITY || high < INFINITY)) flat(x_BD, B, D, low, high, row + 4, row + 5);
}

/* ‖after − before‖, and ‖before‖ */
void change(const float *before, const float *after, int64_t n, double *sizes) {
    double moved = 0, size = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        float one[LANES] = {0}, two[LANES] = {0};
        int64_t i = at, end = at + BLOCK < n ? at + BLOCK : n;
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
    sizes[0] = sqrt(moved);
    sizes[1] = sqrt(size);
}

/* √ mean (x − x̄)², x̄ the mean over the batch. Sample 0 is subtracted first: the mean of close numbers is rounded. */
void spread(const float *x_BD, int64_t B, int64_t D, double *found) {
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
