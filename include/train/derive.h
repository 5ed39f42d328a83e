/* What follows from a configuration before anything runs: lengths, rates, batches. `plan` and
 * the trainer ask the same functions, so that they agree. */
#ifndef CARAT_TRAIN_DERIVE_H
#define CARAT_TRAIN_DERIVE_H

#include "base/str.h"
#include "conf/config.h"
#include "model/model.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "train/ramp.h"
#include "train/scaling.h"

#include <stdint.h>

/* How a run goes: its batches and its length. */
struct course {
    uint64_t n_samples; /* training sequences of an epoch */
    struct ramp ramp;
    struct ramp_at from; /* done when this configuration took over: nothing, or a checkpoint's */
    int64_t n_steps;     /* of the whole run */
};

/* Tokens and micro-batches, over all ranks, of a step of batch.global; of one of `batch`. */
double derive_step_tokens(const struct config *c);
int64_t derive_n_micro(const struct config *c);
int64_t derive_micros(const struct config *c, int64_t batch);
/* What training makes its model for. */
struct model_options derive_model(const struct config *c);

/* Batches and length of a run that has done `from`. E_CONFIG for a ramp that cannot be used. */
int derive_course(struct course *k, const struct config *c, uint64_t n_samples,
                  struct ramp_at from);
/* What is done after `step` steps; before k->from, as this configuration would have come there. */
struct ramp_at course_at(const struct course *k, int64_t step);
/* What is done when the stage or the run ends; at is before the run's end. */
struct ramp_at course_next(const struct course *k, struct ramp_at at);
/* Steps from the run's start on that an amount comes to, rounded up; percent is of all that the
 * run consumes. */
int64_t course_steps(const struct course *k, const struct config *c, struct amount a);
/* Adds what is left of the ramp as a table, a line a stage, and how long AdaScale may take. */
void course_describe(const struct course *k, const struct config *c, const struct scaling *g,
                     struct str *text);
/* Adds a line when the run ends before the ramp does. */
void course_warn(const struct course *k, const struct config *c, struct str *lines);
/* Adds a line when the ramp's first step leaves some of so many ranks without a micro-batch. */
void course_warn_idle(const struct course *k, const struct config *c, int64_t ranks,
                      struct str *lines);

/* What the schedule's clock (schedule.clock) shows after `step` steps: tokens, samples (epochs too
 * are counted in them) or steps. */
double derive_clock(const struct config *c, const struct course *k, int64_t step);
/* What it shows now. */
double derive_now(const struct config *c, struct ramp_at at, const struct gain *gain);
enum unit derive_clock_unit(const struct config *c);

/* The schedule of a run, its peak that of batch.global; how it comes about is added to *text, line
 * by line, when that is not NULL. E_CONFIG, naming the key, for unknown rules, a warmup longer than
 * the run, milestones out of order, pieces that do not fit; E_DATA for epochs without data. Warns
 * of a rate of zero and of settings that the rule does not read. */
int derive_schedule(struct schedule *s, const struct config *c, const struct course *k,
                    const struct scaling *g, struct str *text);
/* The settings of the step that follows; the schedule's peak follows the batch. */
struct optim_settings derive_step(const struct schedule *s, const struct config *c,
                                  const struct course *k, const struct scaling *g,
                                  struct ramp_at at, const struct gain *gain);
/* The rate of the step that follows `step` completed ones; where the gain is measured, at 1. */
double derive_rate(const struct schedule *s, const struct config *c, const struct course *k,
                   const struct scaling *g, int64_t step);
/* The run's last step: k->n_steps, or, where steps are worth what their gain is, when the schedule
 * would come to its end if the gain stayed. */
int64_t derive_end(const struct course *k, const struct scaling *g, struct ramp_at at,
                   const struct gain *gain);

#endif
