/* The whole model in double precision, straight from the formulas: loops over single numbers, one
 * sequence at a time, nothing fused, nothing kept. Tensors are found by their published names, so
 * that a mistake in the slab's layout shows. */
#ifndef CARAT_REF_GEMMA_REF_H
#define CARAT_REF_GEMMA_REF_H

#include "kern/dropout.h"
#include "model/model.h"

/* Sum of weighted token losses. w is a slab of doubles. logits[B,T,V] and token_loss[B,T] are
 * filled when not NULL. */
double gemma_ref_loss(const struct model_spec *s, const struct tensor_table *t, const double *w,
                      const struct batch_view *b, double *logits, double *token_loss);

/* What drops a part of each branch; NULL: nothing. Samples are those of the batch. */
extern const struct dropout *gemma_ref_dropout;

#endif
