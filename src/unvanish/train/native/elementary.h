/* Elementary functions that a compiler can vectorise, exact to a few units in the last place. NaN and infinity pass
 * through. */

INLINE float as_float(uint32_t i) {
    float f;
    memcpy(&f, &i, 4);
    return f;
}

INLINE uint32_t as_bits(float f) {
    uint32_t i;
    memcpy(&i, &f, 4);
    return i;
}

/* e^x = 2^k · e^r, |r| ≤ ln 2 / 2, with e^r = 1 + r + r² P(r): P and the two parts of ln 2 are those of Cephes' expf
 * (Moshier 1989). x is limited to the range in which e^x is a normal number. Adding 1.5 · 2²³ rounds to an integer, k,
 * and leaves it in the lowest bits, from where it is added to the exponent of e^r.
 */
INLINE float exponential(float x, float *minus_one) {
    const float shift = 12582912.0f;
    float near = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float shifted = near * 1.44269504f + shift, k = shifted - shift;
    float r = near - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    float value = as_float(as_bits(p + 1.0f) + (as_bits(shifted) << 23));
    value = x == x ? value : x;
    *minus_one = k == 0.0f ? p : value - 1.0f;
    return value;
}

INLINE float sigmoid(float z) {
    float rest;
    return 1.0f / (1.0f + exponential(-z, &rest));
}

/* tanh z = m / (m + 2), m = e^{2z} − 1 */
INLINE float hyperbolic(float z) {
    float m;
    exponential(2.0f * fabsf(z), &m);
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

/* d · φ′, from h = φ(z), or from z for SiLU, and for ELU, where h + α would cancel; selected rather than multiplied by 0,
 * so that an infinite d stays out */
INLINE float derivative(int64_t function, const float *option, float h, float d) {
    switch (function) {
        case SIGMOID: return d * ((1.0f - h) * h);
        case TANH: return d * (1.0f - h * h);
        case RELU: return h <= 0.0f ? 0.0f : d;
        case LEAKY_RELU: return h > 0.0f ? d : d * option[0];
        case ELU: {
            float m, power = exponential(h * option[2], &m);
            return h > 0.0f ? d * option[1] : d * (option[2] * option[0] * option[1]) * power;
        }
        case SILU: {
            float s = sigmoid(h);
            return d * (s * (1.0f + h * (1.0f - s)));
        }
        default: return h > option[0] && h < option[1] ? d : 0.0f;
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
