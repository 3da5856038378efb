/* What the native step works on; structs.py has the same, field for field.
 *
 * B batch, D features in, E features out, N samples, n elements one after another. A network is a sequence of modules,
 * each on the output of the one before. Matrices are stored by rows.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Loops in several versions, of which the processor's best is chosen when the library is loaded. With clang 14 the first
 * one is chosen on every processor. */
#if defined(VERSIONS) /* none, for a sanitizer */
#elif defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define VERSIONS __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define VERSIONS
#endif
#define INLINE static inline __attribute__((always_inline))

enum { LINEAR, ACTIVATION, BATCH_NORM, STANDARDIZE, PUT, ADD };
/* up to HARDTANH the derivative is computed from the output, then from the input */
enum { SIGMOID, TANH, RELU, LEAKY_RELU, HARDTANH, ELU, SILU, GELU, GELU_TANH, MISH, SOFTPLUS, SOFTSIGN, HARDSWISH, HARDSIGMOID };
enum { SGD, ADAM, ADAMW };
enum { IN_TRAINING = 1, AT_EVALUATION = 2 };

/* of a layer's row in the table of a measured step */
enum { Z_MEAN, Z_STD, SATURATED, DEAD, H_MEAN, H_STD, H_RMS, SPREAD, D_RMS, D_NORM, GRADIENT, UPDATE, WEIGHT, COLUMNS };

/* sgemm_ of the BLAS that PyTorch brings */
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
    int64_t own_statistics; /* of a batch norm, when those of the batch are used: IN_TRAINING | AT_EVALUATION */
    int64_t wire;           /* of a skip connection */
    int64_t z_site, h_site, layer; /* the layer whose pre-activation, activation is its output, whose weight it holds */
    float low, high;        /* between which the activation that follows is not flat */
    float option[3];        /* of an activation; epsilon and momentum of a batch norm */
    Parameter weight, bias; /* without a gradient: frozen; without a value: there is none */
    float *running_mean, *running_var;
    float *output_BE;
    float *mean_E, *inverse_E; /* of a normalisation: the mean, and 1/σ */
} Module;

typedef struct {
    int64_t kind, nesterov;
    double rate, momentum, decay, beta1, beta2, epsilon;
    int64_t steps; /* taken so far */
} Optimizer;

typedef struct {
    int64_t modules, first, sites, classes; /* `first`: the first module that has something to train */
    Module *module;
    int64_t *labels_B;
    Gemm *gemm;
    Optimizer optimizer;
    float *input_BD, *down_BE[2]; /* gradients: one is read, the other one written */
    const float **wire_up;        /* what a skip connection carries forward */
    float **wire_down_BE;         /* and backward */
    double *sum_E, *product_E;    /* of a module, over the batch; as wide as the widest */
    double *h_sum_E, *h_square_E; /* of what is measured, over the batch */
    float *least_E, *most_E;
    float *row_E; /* scratch, three times as wide as the widest module */
} Network;

/* Samples in this order, in batches. Bytes are pixels, scaled to 0…1. */
typedef struct {
    const void *samples_ND;
    const int64_t *labels_N, *order_M;
    int64_t bytes, size, batch;
} Stretch;
