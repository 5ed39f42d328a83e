/* Sums of arrays in a given order, tile by tile, so that partial sums stay in the cache. */
#ifndef CARAT_PAR_FOLD_H
#define CARAT_PAR_FOLD_H

#include "base/half.h"
#include "par/shard.h"

#include <stdbool.h>
#include <stddef.h>

/* Floats: a few tiles fit the first-level cache; sums of squares are taken tile by tile. */
#define FOLD_TILE SHARD_BLOCK

/* An array, and how many additions of the two topmost partial sums follow it on the stack. */
struct fold_term {
    const void *x;
    enum dtype type;
    int merges;
};

/* out[n] = the sum of the terms' elements [first, first+n) in their order; 0 when there are none.
 * n is at most FOLD_TILE. tiles: FOLD_TILE floats for each partial sum that the stack ever holds.
 * out may be what one of the terms has there. */
void fold_terms(float *out, const struct fold_term *term, int n_terms, size_t first, size_t n,
                float *tiles);

/* Adds the topmost array into those below it, `merges` times, over [first, first+n): the result is
 * in slab[top - merges], what lies above is used up. squares: returns the sum of the topmost's
 * squares as it was before, else 0. */
double fold_down(float *const *slab, int top, int merges, size_t first, size_t n, bool squares);

/* The sum of squares in double, where the square of a float is exact; its order depends on n alone.
 */
double fold_sumsq(const float *x, size_t n);
/* Likewise the sum of products, and of absolute values. */
double fold_dot(const float *x, const float *y, size_t n);
double fold_abs(const float *x, size_t n);

#endif
