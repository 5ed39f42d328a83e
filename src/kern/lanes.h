/* Reductions in a written order: LANES interleaved partial results, then a tree. The order depends
 * on the length alone, and the compiler keeps the lanes in vector registers without being allowed
 * to reassociate anything. */
#ifndef CARAT_SRC_KERN_LANES_H
#define CARAT_SRC_KERN_LANES_H

#include <stddef.h>

#include "vmath.h"

#define LANES 32

/* Each step folds the upper half onto the lower; the last three are written out, which keeps them
 * in scalar registers. */
#define LANES_FOLD(acc, n, op)                                                                     \
    for (int l_ = 0; l_ < (n); l_++)                                                               \
    (acc)[l_] = op((acc)[l_], (acc)[l_ + (n)])
#define LANES_TREE(acc, op)                                                                        \
    (op(op(op((acc)[0], (acc)[4]), op((acc)[2], (acc)[6])),                                        \
        op(op((acc)[1], (acc)[5]), op((acc)[3], (acc)[7]))))
#define LANES_ADD(a, b) ((a) + (b))
/* NaN never wins: it reaches the result through the sums. */
#define LANES_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Σ acc[i] over the lanes; acc is used up. */
static inline float lanes_total(float acc[LANES])
{
    LANES_FOLD(acc, 16, LANES_ADD);
    LANES_FOLD(acc, 8, LANES_ADD);
    return LANES_TREE(acc, LANES_ADD);
}

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
    return lanes_total(acc);
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
    return lanes_total(acc);
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
    LANES_FOLD(acc, 16, LANES_MAX);
    LANES_FOLD(acc, 8, LANES_MAX);
    return LANES_TREE(acc, LANES_MAX);
}

#endif
