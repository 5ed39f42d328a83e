/* Dropout whose mask is drawn from counters: a value's fate depends on the seed, on which sample of
 * the training order it belongs to, and on its place there alone, so that it is the same in any
 * micro-batch, on any rank, and when it is computed again. Source: Srivastava et al. 2014; Salmon
 * et al. 2011, Philox4x32-10. */
#ifndef CARAT_KERN_DROPOUT_H
#define CARAT_KERN_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

struct dropout {
    double share; /* of the values that become 0; taken in steps of 2^-16 */
    uint64_t seed;
    uint64_t sample; /* the first sequence's place in the training order */
    uint64_t place;  /* which of a pass's masks */
};

/* y[B,T,d]: each value of x is 0, or divided by the share of those that are kept. y may be x. */
void dropout(float *y, const float *x, const struct dropout *o, size_t B, size_t T, size_t d);

#endif
