/* The keys that change the gradient between its sum and the optimizer: regularize.l1, .l2,
 * optimizer.clip_value, .clip_adaptive. */
#ifndef CARAT_TRAIN_REGULARIZE_H
#define CARAT_TRAIN_REGULARIZE_H

#include "conf/config.h"
#include "model/tensors.h"
#include "optim/shaping.h"

struct trainer;

struct regularizer {
    struct shaping shaping;
    struct row_clip rows; /* of the matrices in layers, with clip_adaptive */
};

/* E_MEM: release it all the same. Local. */
int regularizer_init(struct regularizer *r, const struct config *c, const struct tensor_table *t);
void regularizer_release(struct regularizer *r);
/* Bytes that it holds: for plans. Exact. */
double regularizer_bytes(const struct config *c, const struct tensor_table *t);

/* This rank's pieces of the summed gradient, just before the optimizer takes them; grad_scale makes
 * it the mean, grad_norm is the mean's norm before clipping. Nothing when all is off. Collective.
 */
void regularizer_apply(struct trainer *t, float *grad, double grad_scale, double grad_norm,
                       double targets);

#endif
