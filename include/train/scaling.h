/* How a job's optimizer settings follow its batch, by a rule of optim/lrscale.h; and what
 * AdaScale's rule carries from step to step. */
#ifndef CARAT_TRAIN_SCALING_H
#define CARAT_TRAIN_SCALING_H

#include "conf/config.h"
#include "optim/lrscale.h"

struct scaling {
    const struct lrscale_rule *rule;
    struct optim_settings base; /* at job.base */
    struct lrscale_job job;     /* to batch.global */
    bool momentum_scheduled;    /* the schedule sets beta1, or momentum, in each step */
};

/* E_CONFIG for an unknown rule and where the rule cannot be used. */
int derive_scaling(struct scaling *g, const struct config *c);
/* The settings at a batch; its rate is the peak. */
struct optim_settings derive_settings(const struct scaling *g, int64_t batch);

/* The derivation for people, without what the schedule sets. */
void scaling_describe(const struct scaling *g, struct str *text);
/* Adds a line for each way in which the rule is out of its depth. */
void scaling_warn(const struct scaling *g, const struct config *c, struct str *lines);

/* Of a rule whose gain each step measures; doubles alone, a row of the run's state. A step of a
 * batch kappa times the base has a gain r of 1 to kappa: it is worth r steps at the base, so that
 * the schedule counts r/kappa of it. Source: Johnson et al. 2020, algorithm 1. */
struct gain {
    double trace, signal;          /* measured: variance of one sequence's gradient, all elements
                                      together, and the squared norm of the true one; 0: not yet */
    double lag_steps, lag_samples; /* of what is done, what the schedule has not counted */
};
enum { GAIN_N = sizeof(struct gain) / sizeof(double) };

/* The gain of a step of `batch` sequences; 1 for other rules, below the base and before anything is
 * measured. */
double gain_of(const struct gain *m, const struct scaling *g, int64_t batch);
/* What the schedule counts of such a step: 1 for other rules. */
double gain_share(const struct gain *m, const struct scaling *g, int64_t batch);
/* What it multiplies the rate by: the gain, or its root for Adam and its like. */
double gain_of_rate(const struct gain *m, const struct scaling *g, int64_t batch);
/* Such a step is done. */
void gain_count(struct gain *m, const struct scaling *g, int64_t batch);

#endif
