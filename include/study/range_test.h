/* Learning-rate range test: a rate that grows from step to step, and the loss at each.
 * Source: Smith 2017, section 3.3; fastai, callback.schedule, LRFinder. */
#ifndef CARAT_STUDY_RANGE_TEST_H
#define CARAT_STUDY_RANGE_TEST_H

#include "study/range_curve.h"
#include "train/trainer.h"

/* The job at a batch of `batch` sequences as a range test runs it: without end, warmup, schedule,
 * ramp of the batch and scaling of its rate; clipping and the rest stay. */
void range_config(struct config *out, const struct config *job, int64_t batch);

/* Trains along the ramp, from the trainer's present state, to which it comes back: parameters,
 * optimizer state and place in the data are then what they were, bit for bit. curve is the
 * caller's, made by range_curve_init on every rank; each (may be NULL) is called after every step.
 * Root decides on rates and on the end. E_STOPPED after a signal; after an error the trainer is
 * good for release alone. Collective. */
int range_test(struct range_curve *curve, struct trainer *t,
               void (*each)(void *ctx, const struct range_curve *curve), void *ctx);

#endif
