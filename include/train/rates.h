/* Which tensor learns how fast: the keys under rates.* become a factor of the learning rate, a
 * factor of the weight decay and a "frozen" for each tensor. */
#ifndef CARAT_TRAIN_RATES_H
#define CARAT_TRAIN_RATES_H

#include "base/str.h"
#include "conf/config.h"
#include "model/tensors.h"
#include "optim/optim.h"

/* By the table's rows. */
struct rates {
    int n;
    double *factor; /* of the learning rate */
    double *decay;  /* of the weight decay */
    bool *frozen;
};

/* Multiplies for each tensor: rates.layer_decay once for every layer above it (for the embedding
 * once more than for the first layer), its layer's factor of rates.layers, the last of
 * rates.tensors that fits its name, rates.embed or rates.norms. With muP (the spec's mup_base)
 * matrices in layers take the rate divided by the width ratio and the decay multiplied by it, so
 * that their product stays. Source: Yang et al. 2022, table 8. E_CONFIG naming the key and the fix;
 * E_MEM. Local. */
int rates_init(struct rates *r, const struct config *c, const struct model_spec *s,
               const struct tensor_table *t);
void rates_release(struct rates *r);

/* Sets them in the optimizer's groups, one a tensor in the table's order. */
void rates_apply(const struct rates *r, struct optim_group *groups);

/* What a step has to do for a model of these keys: FLOPs of a token forward + backward (work.h),
 * and parameters that are trained. E_CONFIG, E_MEM. Local. */
struct rates_work {
    double flops_token, n_trained;
};
int rates_work(struct rates_work *w, const struct config *c, const struct model_spec *s);

/* Adds a line for the embedding, for layers that are alike and for the final norm, when any factor
 * is not 1 or anything is frozen. */
void rates_describe(const struct rates *r, const struct tensor_table *t, struct str *text);
/* Checks the keys against a model and describes what comes of them: for plans. E_CONFIG, E_MEM.
 * Local. */
int rates_plan(const struct config *c, const struct model_spec *s, struct str *text);

#endif
