/* The rows of the optimizers' table, each defined in the file of its rule or family, and what rules
 * share. For src/optim alone. */
#ifndef CARAT_OPTIM_RULES_H
#define CARAT_OPTIM_RULES_H

#include "optim/optim.h"

extern const struct optim_rule optim_adamw, optim_adam, optim_adam_hd, optim_sgd, optim_sgd_hd,
    optim_adagrad, optim_rmsprop, optim_lars, optim_lamb, optim_lion, optim_adafactor, optim_muon,
    optim_schedule_free, optim_prodigy;

/* The rate and the decay of a part. */
static inline double part_lr(const struct optim_part *p)
{
    return p->step->lr * p->group->rate;
}
static inline double part_decay(const struct optim_part *p)
{
    double factor = p->group->decay_factor;
    return p->group->decay ? p->step->weight_decay * (factor != 0 ? factor : 1) : 0;
}

/* AdamW's step, with slots 0 and 1. */
void adamw_run(const struct optim_part *p, double *sum);
/* The rate lr + h·dot, kept within the cap; scalar 0 is how far it is from the scheduled one. */
void hyper_join(struct optim *o, struct optim_step *s, const double *sum);

/* What adafactor's rows are cut by: whole rows that are whole blocks. */
size_t adafactor_unit(size_t cols);

#endif
