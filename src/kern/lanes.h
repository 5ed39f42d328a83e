/* Reductions in a written order: LANES interleaved partial results, then a tree. The order depends
 * on the length alone, and the compiler keeps the lanes in vector registers without being allowed
 * to reassociate anything. */
#ifndef CARAT_SRC_KERN_LANES_H
#define CARAT_SRC_KERN_LANES_H

#include <stddef.h>

#include "vmath.h"

#define LANES 32

/* Each step folds the upper half onto the lower; sizes are constants so that it unrolls. */
#define LANES_FOLD(acc, n, op)                                                                     \
    for (int l_ = 0; l_ < (n); l_++)                                                               \
    (acc)[l_] = op((acc)[l_], (acc)[l_ + (n)])
#define LANES_TREE(acc, op)                                                                        \
    do {                                                                                           \
        LANES_FOLD(acc, 16, op);                                                                   \
        LANES_FOLD(acc, 8, op);                                                                    \
        LANES_FOLD(acc, 4, op);                                                                    \
        LANES_FOLD(acc, 2, op);                                                                    \
        LANES_FOLD(acc, 1, op);                                                                    \
    } while (0)
#define LANES_ADD(a, b) ((a) + (b))
/* NaN never wins: it reaches the result through the sums. */
#define LANES_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Σ x[i]. */
static inline float lanes_sum(const float *x, size_t n)
{
    float acc[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] += x[i + l];
    for (size_t l = 0; i + l < n; l++)
        acc[l] += x[i + l];
    LANES_TREE(acc, LANES_ADD);
    return acc[0];
}

/* Σ x[i]·y[i]. */
static inline float lanes_dot(const float *x, const float *y, size_t n)
{
    float acc[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] = fmaf_(x[i + l], y[i + l], acc[l]);
    for (size_t l = 0; i + l < n; l++)
        acc[l] = fmaf_(x[i + l], y[i + l], acc[l]);
    LANES_TREE(acc, LANES_ADD);
    return acc[0];
}

/* max(floor, x[0], …). */
static inline float lanes_max(const float *x, size_t n, float floor)
{
    float acc[LANES];
    size_t i = 0;
    for (int l = 0; l < LANES; l++)
        acc[l] = floor;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] = LANES_MAX(x[i + l], acc[l]);
    for (size_t l = 0; i + l < n; l++)
        acc[l] = LANES_MAX(x[i + l], acc[l]);
    LANES_TREE(acc, LANES_MAX);
    return acc[0];
}

#endif
