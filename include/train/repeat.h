/* A step that looks wrong is computed again: the same samples give the same bits, unless a machine
 * made an error. So two equal results are the numbers' own doing; of three, two that agree outvote
 * an error. A fault that repeats itself bit by bit is not seen. */
#ifndef CARAT_TRAIN_REPEAT_H
#define CARAT_TRAIN_REPEAT_H

#include "train/sums.h"

struct trainer;
struct step_result;

/* Computes the present step's gradient from the feed's next samples and sums it up; s is zeroed.
 * Collective. */
typedef int (*repeat_fn)(struct trainer *t, struct sums *s, struct step_result *r);

/* The step's gradient has been computed, to s and r, and no update was made: compares the replicas,
 * computes it again, and compares what each rank gave and what it has of the sum. Where they
 * differ, a third result decides: s, r and the reducer's sum are then one that two of the three
 * agree on, and an event "repeat" names the ranks that erred. E_RANK where no two agree.
 * Collective. */
int repeat_step(struct trainer *t, repeat_fn compute, struct sums *s, struct step_result *r);

#endif
