/* What is done to the gradient before the optimizer's rule sees it, beside clipping by its norm. In
 * this order: rows of matrices are clipped by their own norms, elements by their size, and the
 * penalties' gradients are added, which are thus not clipped. Off, nothing is touched. */
#ifndef CARAT_OPTIM_SHAPING_H
#define CARAT_OPTIM_SHAPING_H

#include "optim/optim.h"
#include "par/comm.h"

struct shaping {
    double clip_adaptive; /* a row's gradient over the row, norms; 0: no clipping */
    double clip_value;    /* of an element; 0: no clipping */
    double l1, l2;        /* of groups that take decay: sign of the weight, weight; 0: none */
};

/* Elements of this rank's pieces of the summed gradient g; step_scale (optim_step's grad_scale)
 * makes it the mean. Local. */
void shape_elements(const struct shaping *s, const struct shard *sh,
                    const struct optim_group *groups, int n_groups, const float *params, float *g,
                    double grad_scale);

/* A matrix whose rows (of weights that come together in one output) are clipped. */
struct row_matrix {
    size_t first, rows, cols; /* place in the slab, shape */
};

struct row_clip {
    struct row_matrix *matrix; /* in the slab's order */
    int n;
    size_t n_rows;
    int64_t *sum; /* [n_rows] squares of gradients, in fixed point */
    float *limit; /* [n_rows] of those that this rank has a part of */
};

/* Takes a copy of the matrices. E_MEM. Local. */
int row_clip_init(struct row_clip *r, const struct row_matrix *matrix, int n);
void row_clip_release(struct row_clip *r);
size_t row_clip_bytes(const struct row_matrix *matrix, int n);
/* Scales each row of this rank's pieces of the gradient so that its mean's norm is at most `most`
 * times that of the row (or of 1e-3, where that is greater). sumsq: of the whole summed gradient.
 * Rows may be cut anywhere: their squares are added as integers, which have one sum in any order.
 * c: the ranks that have the pieces; NULL: this one has all. Parameters are not to change until
 * all ranks are in here. Source: Brock et al. 2021, eq. 3. Collective. E_RANK. */
int row_clip(struct row_clip *r, const struct comm *c, const struct shard *sh, const float *params,
             float *g, double grad_scale, double sumsq, double most);

#endif
