/* Updates. What they change by is measured block by block, as long as a block is in the cache. */

enum { BLOCK = 4096 };

/* w −= rate · g, g = ∂loss/∂w + decay · w; with momentum as in torch.optim.SGD: m = μ m + g, and m in place of g, or
 * g + μ m by Nesterov. */
INLINE void descend(const Optimizer *o, const float *gradient, int64_t n, float *restrict w, float *restrict m) {
    const float rate = o->rate, momentum = o->momentum, decay = o->decay;
    if (!m)
        for (int64_t i = 0; i < n; i++) w[i] -= rate * (gradient[i] + decay * w[i]);
    else
        for (int64_t i = 0; i < n; i++) {
            float g = gradient[i] + decay * w[i];
            m[i] = momentum * m[i] + g;
            w[i] -= rate * (o->nesterov ? g + momentum * m[i] : m[i]);
        }
}

/* Kingma & Ba 2015, algorithm 1, as torch.optim.Adam arranges it: m += (1 − β₁)(g − m), v = β₂ v + (1 − β₂) g²,
 * w −= rate/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε). The decay goes into g, or by AdamW (Loshchilov & Hutter 2019) off w. */
INLINE void adapt(const Optimizer *o, const float *gradient, int64_t n, float *restrict w, float *restrict m,
                  float *restrict v) {
    const float decay = o->kind == ADAM ? o->decay : 0, keep = o->kind == ADAMW ? 1 - o->rate * o->decay : 1;
    const float rest1 = 1 - o->beta1, beta2 = o->beta2, rest2 = 1 - o->beta2, epsilon = o->epsilon;
    const float rate = o->rate / (1 - pow(o->beta1, o->steps)), root = sqrt(1 - pow(o->beta2, o->steps));
    for (int64_t i = 0; i < n; i++) {
        float g = gradient[i] + decay * w[i];
        m[i] += rest1 * (g - m[i]);
        v[i] = v[i] * beta2 + rest2 * (g * g);
        w[i] = w[i] * keep - rate * (m[i] / (sqrtf(v[i]) / root + epsilon));
    }
}

VERSIONS static void update_block(const Optimizer *o, const Parameter *p, int64_t at, int64_t n) {
    if (o->kind == SGD) descend(o, p->gradient + at, n, p->value + at, p->first ? p->first + at : NULL);
    else
        adapt(o, p->gradient + at, n, p->value + at, p->first + at, p->second + at);
}

/* `row`, where it is measured: the norms of the gradient, of the change, and of the weight before it */
static void update(const Optimizer *o, const Parameter *p, double *row) {
    float before[BLOCK];
    double gradient = 0, change = 0, weight = 0;
    if (!p->value || !p->gradient) return;
    for (int64_t at = 0; at < p->size; at += BLOCK) {
        int64_t n = at + BLOCK < p->size ? BLOCK : p->size - at;
        if (row) memcpy(before, p->value + at, n * sizeof(float));
        update_block(o, p, at, n);
        if (!row) continue;
        gradient += squares(p->gradient + at, n);
        weight += squares(before, n);
        for (int64_t i = 0; i < n; i++) before[i] = p->value[at + i] - before[i];
        change += squares(before, n);
    }
    if (!row) return;
    row[GRADIENT] = sqrt(gradient);
    row[UPDATE] = sqrt(change);
    row[WEIGHT] = sqrt(weight);
}
