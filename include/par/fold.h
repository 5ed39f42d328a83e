/* Sums of arrays in a given order, tile by tile, so that partial sums stay in the cache. */
#ifndef CARAT_PAR_FOLD_H
#define CARAT_PAR_FOLD_H

#include <stddef.h>

#define FOLD_TILE 2048 /* floats: a few tiles fit the first-level cache */

/* An array, and how many additions of the two topmost partial sums follow it on the stack. */
struct fold_term {
    const float *x;
    int merges;
};

/* out[n] = the sum of the terms in their order; 0 when there are none. tiles: FOLD_TILE floats for
 * each partial sum that the stack ever holds. out may be one of the terms, or begin a multiple of
 * FOLD_TILE above one that it overlaps. */
void fold_terms(float *out, const struct fold_term *term, int n_terms, size_t n, float *tiles);

/* Adds the topmost array into those below it, `merges` times, over [first, first+n): the result is
 * in slab[top - merges], what lies above is used up. */
void fold_down(float *const *slab, int top, int merges, size_t first, size_t n);

#endif
