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
 * (Moshier 1989). Adding 1.5 · 2²³ rounds to an integer, k, and leaves it in the lowest bits, from where it is added to
 * the exponent of e^r. Below the range in which e^x is a normal number it is 0, above it is infinite.
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
    value = x < -87.0f ? 0.0f : x > 88.0f ? INFINITY : x == x ? value : x;
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
    exponential(fabsf(z) > 20.0f ? 40.0f : 2.0f * fabsf(z), &m);
    return copysignf(m / (m + 2.0f), z);
}

/* log(1 + e^z) = max(z, 0) + log(1 + u), u = e^{−|z|}; log(1 + u) = 2 artanh s = 2 (s + s³/3 + …), s = u / (2 + u) ≤ ⅓ */
INLINE float softplus(float z) {
    float rest, u = exponential(-fabsf(z), &rest), s = u / (2.0f + u), q = s * s;
    float p = 1.0f / 15.0f;
    p = p * q + 1.0f / 13.0f;
    p = p * q + 1.0f / 11.0f;
    p = p * q + 1.0f / 9.0f;
    p = p * q + 1.0f / 7.0f;
    p = p * q + 1.0f / 5.0f;
    p = p * q + 1.0f / 3.0f;
    return (z > 0.0f || z != z ? z : 0.0f) + 2.0f * (s + s * q * p);
}

/* Φ(z) = ½ erfc(−z/√2), erfc by Press et al. 1992, section 6.2: to 1.2e-7 of itself */
INLINE float normal_cdf(float z) {
    float rest, x = fabsf(z) * 0.70710678f, t = 1.0f / (1.0f + 0.5f * x);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    float tail = 0.5f * t * exponential(p * t - 1.26551223f - x * x, &rest);
    return z < 0.0f ? tail : 1.0f - tail;
}

INLINE float clamp(float z, float low, float high) { return z < low ? low : z > high ? high : z; }

/* GELU by tanh (Hendrycks & Gimpel 2016): ½ z (1 + tanh u), u = √(2/π) (z + 0.044715 z³) */
INLINE float gelu_tanh(float z) { return hyperbolic(0.79788456f * (z + 0.044715f * z * z * z)); }

/* tanh(log(1 + e^z)) = n / (n + 2), n = e^z (e^z + 2): Mish without its factor z (Misra 2019) */
INLINE float mish_gate(float z) {
    float rest, e = exponential(z > 20.0f ? 20.0f : z, &rest), n = e * (e + 2.0f);
    return n / (n + 2.0f);
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
        case GELU: return z * normal_cdf(z);
        case GELU_TANH: return 0.5f * z * (1.0f + gelu_tanh(z));
        case MISH: return z * mish_gate(z);
        case SOFTPLUS: return z * option[0] > option[1] ? z : softplus(z * option[0]) * option[2];
        case SOFTSIGN: return z / (1.0f + fabsf(z));
        case HARDSWISH: return z * clamp(z * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f);
        case HARDSIGMOID: return clamp(z * (1.0f / 6.0f) + 0.5f, 0.0f, 1.0f);
        default: return clamp(z, option[0], option[1]);
    }
}

/* Of these φ′ is computed from z instead of h = φ(z). */
INLINE int of_input(int64_t function) { return function >= ELU; }

/* d · φ′, from h or z; selected rather than multiplied by 0, so that an infinite d stays out */
INLINE float derivative(int64_t function, const float *option, float x, float d) {
    float m;
    switch (function) {
        case SIGMOID: return d * ((1.0f - x) * x);
        case TANH: return d * (1.0f - x * x);
        case RELU: return x <= 0.0f ? 0.0f : d;
        case LEAKY_RELU: return x > 0.0f ? d : d * option[0];
        case HARDTANH: return x > option[0] && x < option[1] ? d : 0.0f;
        case ELU: /* from h, h + α would cancel */
            return x > 0.0f ? d * option[1] : d * (option[2] * option[0] * option[1]) * exponential(x * option[2], &m);
        case SILU: {
            float s = sigmoid(x);
            return d * (s * (1.0f + x * (1.0f - s)));
        }
        case GELU: return d * (normal_cdf(x) + x * 0.39894228f * exponential(-0.5f * x * x, &m)); /* Φ + z Φ′ */
        case GELU_TANH: {
            float t = gelu_tanh(x);
            return d * (0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 0.134145f * x * x));
        }
        case MISH: {
            float t = mish_gate(x);
            return d * (t + x * sigmoid(x) * (1.0f - t * t));
        }
        case SOFTPLUS: return x * option[0] > option[1] ? d : d * sigmoid(x * option[0]);
        case SOFTSIGN: return d / ((1.0f + fabsf(x)) * (1.0f + fabsf(x)));
        case HARDSWISH: return x <= -3.0f ? 0.0f : x < 3.0f ? d * (x * (1.0f / 3.0f) + 0.5f) : d;
        default: return x > -3.0f && x < 3.0f ? d * (1.0f / 6.0f) : 0.0f; /* HARDSIGMOID */
    }
}

/* One loop for each function: which one it is, is decided outside of the loop. */
#define FOR_EACH_FUNCTION(loop)                    \
    switch (function) {                            \
        case SIGMOID: loop(SIGMOID) break;         \
        case TANH: loop(TANH) break;               \
        case RELU: loop(RELU) break;               \
        case LEAKY_RELU: loop(LEAKY_RELU) break;   \
        case HARDTANH: loop(HARDTANH) break;       \
        case ELU: loop(ELU) break;                 \
        case SILU: loop(SILU) break;               \
        case GELU: loop(GELU) break;               \
        case GELU_TANH: loop(GELU_TANH) break;     \
        case MISH: loop(MISH) break;               \
        case SOFTPLUS: loop(SOFTPLUS) break;       \
        case SOFTSIGN: loop(SOFTSIGN) break;       \
        case HARDSWISH: loop(HARDSWISH) break;     \
        default: loop(HARDSIGMOID) break;          \
    }
