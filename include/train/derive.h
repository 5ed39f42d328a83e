/* What follows from a configuration before anything runs: lengths, rates, micro-batches. `plan` and
 * the trainer ask the same functions, so that they agree. */
#ifndef CARAT_TRAIN_DERIVE_H
#define CARAT_TRAIN_DERIVE_H

#include "base/str.h"
#include "conf/config.h"
#include "model/model.h"
#include "optim/optim.h"
#include "optim/schedule.h"

#include <stdint.h>

/* Tokens that a step consumes: batch.global · batch.seq_len. */
double derive_step_tokens(const struct config *c);
/* Micro-batches of a step, over all ranks. */
int64_t derive_n_micro(const struct config *c);
/* What training makes its model for. */
struct model_options derive_model(const struct config *c);
/* Steps of an amount; percent is of `whole` steps. n_samples: training sequences an epoch. Rounded
 * up to whole steps. */
int64_t derive_steps(const struct config *c, struct amount a, uint64_t n_samples, int64_t whole);
/* What the schedule's clock (schedule.clock) shows after `step` completed steps: tokens, samples
 * (epochs too are counted in them) or steps. */
double derive_clock(const struct config *c, int64_t step);
/* "tokens", "samples", "steps". */
const char *derive_clock_unit(const struct config *c);
/* The schedule of a run of n_steps, its peak scaled to the batch; the derivation, line by line, is
 * added to *text when that is not NULL. E_CONFIG, naming the key, for unknown rules, a warmup
 * longer than the run, milestones out of order, pieces that do not fit; E_DATA for epochs without
 * data. Warns of a rate of zero and of settings that the rule does not read. */
int derive_schedule(struct schedule *s, const struct config *c, uint64_t n_samples, int64_t n_steps,
                    struct str *text);
/* Its part after the peak: warmup and pieces. */
int derive_shape(struct schedule *s, const struct config *c, uint64_t n_samples, int64_t n_steps,
                 struct str *text);
/* Rate and momentum of the step that follows `step` completed ones. */
struct schedule_point derive_point(const struct schedule *s, const struct config *c, int64_t step);
/* Its rate alone. */
double derive_rate(const struct schedule *s, const struct config *c, int64_t step);

#endif
