/* The batch of each step, which may grow by batch.ramp: pure arithmetic on what a run has done. It
 * knows nothing of ranks. Source: Smith et al. 2018; the form is Megatron-LM's. */
#ifndef CARAT_TRAIN_RAMP_H
#define CARAT_TRAIN_RAMP_H

#include "conf/config.h"

#include <stdbool.h>
#include <stdint.h>

enum { RAMP_MAX = 32 };

/* What a run has done: what its schedule and its ramp count. The place in the data's order is
 * another matter: a run that goes back may leave samples out. */
struct ramp_at {
    int64_t step;    /* completed */
    int64_t samples; /* sequences that those steps took */
};

struct ramp_stage {
    bool by_step;  /* from counts steps; else sequences */
    int64_t from;  /* the stage begins with the first step at or past this */
    int64_t batch; /* sequences of its steps */
};

struct ramp {
    int n; /* at least 1 */
    struct ramp_stage stage[RAMP_MAX];
};

/* One batch throughout. */
struct ramp ramp_of(int64_t batch);
/* From batch.ramp, or of batch.global where that is empty. E_CONFIG when it cannot be read, does
 * not begin at 0, does not grow, has a stage without a step or of less than batch.micro, or does
 * not end at batch.global. */
int ramp_init(struct ramp *r, const struct config *c);

/* The stage and the batch of the step that follows. */
int ramp_stage_at(const struct ramp *r, struct ramp_at at);
int64_t ramp_batch(const struct ramp *r, struct ramp_at at);
/* Steps until the next stage begins; INT64_MAX in the last. */
int64_t ramp_left(const struct ramp *r, struct ramp_at at);
/* What is done n_steps later. Closed form: its cost is that of the stages. */
struct ramp_at ramp_walk(const struct ramp *r, struct ramp_at at, int64_t n_steps);
/* The fewest steps after which at least `samples` sequences are done in all; 0 when they are. */
int64_t ramp_steps(const struct ramp *r, struct ramp_at at, double samples);

#endif
