/* The trainer's optimizer: how tensors are divided among ranks and what a step is set to, from the
 * configuration; which weights are shown outside of steps; what checkpoints hold of it. */
#ifndef CARAT_TRAIN_OPTIMIZER_H
#define CARAT_TRAIN_OPTIMIZER_H

#include "conf/config.h"
#include "model/tensors.h"
#include "optim/optim.h"
#include "optim/settings.h"
#include "train/ckpt.h"

struct trainer;

/* One group a tensor, in the table's order. mem_free. E_MEM. */
int optimizer_groups(struct optim_group **groups, const struct tensor_table *t);
/* Momentum that the job asks for, or the rule's own. */
double optimizer_momentum(const struct config *c, const struct optim_rule *rule);
/* What the job sets, at the batch it was tuned at. */
struct optim_settings optimizer_base(const struct config *c, const struct optim_rule *rule);
/* A step with these settings and what the job sets for every step; the rest of it is zero. */
struct optim_step optimizer_settings(const struct config *c, const struct optim_settings *now);
/* Warns of settings that the job changes and the rule does not read. E_MEM. */
int optimizer_warn(const struct config *c, const struct optim_rule *rule);

/* Lays the slab out for the trainer's rule and groups and makes room for the state, which then has
 * rows among those that the trainer carries. E_MEM. Local. */
int optimizer_init(struct trainer *t);
void optimizer_release(struct trainer *t);
/* The parameters are there: those of the first step, or read with the state. Afterwards they are
 * those that gradients are taken at. Collective. E_RANK. */
int optimizer_begin(struct trainer *t, bool resumed);

/* Puts the weights that are worth evaluating and keeping in place of those that gradients are taken
 * at, and back; nothing where they are the same ones. Collective. E_RANK. */
int optimizer_show(struct trainer *t);
int optimizer_hide(struct trainer *t);

/* Adds the state's arrays to a[*n]. */
void optimizer_arrays(struct trainer *t, struct ckpt_array *a, int *n);
/* Bytes, for plans. */
struct optimizer_size {
    double state, scratch; /* of a rank */
    double saved;          /* in a checkpoint, of all ranks */
};
/* Of one of the ranks that share the state. Local. */
struct optimizer_size optimizer_size(const struct config *c, const struct optim_rule *rule,
                                     const struct optim_layout *l, const struct optim_group *groups,
                                     int n_groups, int ranks, int rank);
/* FLOPs of a step's matrix products: all, and those of one tensor that stays with one rank; none
 * for what is frozen. E_CONFIG, E_MEM. */
struct optimizer_work {
    double all, most;
};
int optimizer_work(struct optimizer_work *w, const struct optim_rule *rule, const struct config *c,
                   const struct model_spec *s);

#endif
