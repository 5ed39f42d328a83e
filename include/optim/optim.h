/* Optimizers: a rule is one file and one row of the table. State lives in slots, arrays of this
 * rank's shard; an update is element by element, so that it does not depend on the cut. */
#ifndef CARAT_OPTIM_OPTIM_H
#define CARAT_OPTIM_OPTIM_H

#include "par/shard.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIM_MAX_SLOTS 4

/* What one step's update needs; the same on all ranks. */
struct optim_step {
    double lr;
    double beta1, beta2, eps;
    double weight_decay;
    double grad_scale; /* multiplies the summed gradient: clip factor / counted targets */
    int64_t t;         /* this update's number, from 1 */
};

struct optim_rule {
    const char *name; /* "adamw" */
    int n_slots;
    const char *slot[OPTIM_MAX_SLOTS]; /* "exp_avg", "exp_avg_sq": names in checkpoints */
    double beta1, beta2, eps;          /* where the job does not set them */
    /* w[n] and slots are updated from the summed gradient g[n]; decay: this range takes weight
     * decay. */
    void (*update)(float *w, const float *g, float *const slot[], size_t n, bool decay,
                   const struct optim_step *s);
    const char *note; /* one line of help, with its source */
};

/* The rule of a name; E_CONFIG with a suggestion. */
int optim_find(const struct optim_rule **rule, const char *name);
/* Rows of the table; NULL past the last. */
const struct optim_rule *optim_row(int i);

/* A range of the slab with the same treatment; in order, without overlap. */
struct optim_group {
    struct range at;
    bool decay;
    double rate;         /* factor of the learning rate */
    double decay_factor; /* of the weight decay; 0 is taken as 1 */
};

/* Updates this rank's pieces of the parameter slab in place, from those of the gradient's; the
 * slots are shards. */
void optim_update(const struct optim_rule *rule, const struct optim_step *s, const struct shard *sh,
                  const struct optim_group *groups, int n_groups, float *params_slab,
                  const float *g_slab, float *const slot_shards[]);

/* Clipping by global norm: min(1, max_norm / (norm + 1e-6)); 1 when max_norm is 0. */
double clip_scale(double norm, double max_norm);

#endif
