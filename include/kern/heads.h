/* What lies between the fused product and attention: the norms of query and key heads, their
 * rotation, and a copy of the values, in one pass over each position.
 * Rotation is on halves: element i of a head turns with element i + Hd/2.
 * Source: Su et al. 2021, eq. 34, in the half-split pairing that Gemma uses; Gemma Team 2025
 * (Gemma 3), section 2 (norms of queries and keys). */
#ifndef CARAT_KERN_HEADS_H
#define CARAT_KERN_HEADS_H

#include "base/half.h"

struct heads_shape {
    size_t B, T, first; /* sequences, positions, number of the first position */
    size_t H, K, Hd;    /* query heads, key/value heads, head size (even) */
    float eps;          /* of the norms */
};

/* qkv[B·T, (H+2K)·Hd] from raw of the same shape, each row the query heads, key heads, value heads,
 * rows ld… floats apart. wq[Hd] and wk[Hd] are the norms' weights; wq NULL: there are none, wk is
 * not used, and raw may be qkv. rstd[B·T, H+K] is kept for the backward pass where there are norms,
 * may be NULL. cos_sin: rope_table's, with rows first … first+T-1 at least. */
void heads_fwd(float *qkv, size_t ldqkv, float *rstd, const float *raw, size_t ldraw,
               const float *wq, const float *wk, const float *cos_sin, const struct heads_shape *s);
/* draw[B·T, (H+2K)·Hd] from dqkv, the forward's raw and rstd; dwq[Hd] and dwk[Hd] += the gradients
 * of the weights, summed in order of positions and heads. wq NULL: dwq, dwk, raw and rstd are not
 * used. draw may be dqkv in F32 with the same leading dimension. */
void heads_bwd(void *draw, enum dtype t, size_t lddraw, float *dwq, float *dwk, const float *dqkv,
               size_t lddqkv, const float *raw, size_t ldraw, const float *rstd, const float *wq,
               const float *wk, const float *cos_sin, const struct heads_shape *s);

#endif
