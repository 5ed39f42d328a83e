/* The logits and the loss. All logits of a pass never exist at once. */
#ifndef CARAT_MODEL_HEAD_H
#define CARAT_MODEL_HEAD_H

#include "model/block.h"
#include "model/model.h"

/* Loss of the normed stream in ACT_XN behind the last layer. With grads: the embedding's gradient
 * from the head's use of it (overwritten) and ACT_DXN; those of the layers are written over in
 * between. Without, grads is NULL. */
void head_loss(const struct net *n, const struct pass *p, const float *params,
               const struct batch_view *b, float *grads, struct pass_result *out);
/* Logits[n_rows,V], final cap included, of rows first_row … of ACT_XN behind the last layer. */
void head_logits(const struct net *n, const float *params, size_t first_row, size_t n_rows,
                 float *logits);

#endif
