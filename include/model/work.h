/* The work of training, with what is frozen left out. */
#ifndef CARAT_MODEL_WORK_H
#define CARAT_MODEL_WORK_H

#include "model/tensors.h"

#include <stdbool.h>

/* FLOPs of a token at sequence length T, forward + backward: spec_flops_per_token less the products
 * that make gradients of frozen matrices and all of the backward pass below the lowest tensor that
 * is trained. frozen: by the table's rows, NULL for nothing. Local. */
double work_flops_per_token(const struct tensor_table *t, const struct model_spec *s,
                            const bool *frozen, int T);

#endif
