/* How long a run still takes: from the steps of late, and what comes between them. */
#ifndef CARAT_TRAIN_PACE_H
#define CARAT_TRAIN_PACE_H

#include <stdint.h>

enum { PACE_STEPS = 33 };

struct pace {
    double unit_s[PACE_STEPS]; /* a ring: of each step, seconds a unit of its work */
    int64_t n;                 /* steps so far */
    double valid_s, save_s;    /* the last of each */
};

/* A step is done: seconds a unit of work, which may be a sequence where batches grow. */
void pace_step(struct pace *p, double unit_s);
void pace_valid(struct pace *p, double s);
/* How often, in steps, a validation and a save come; 0: only at the end. */
struct pace_plan {
    int64_t step, n_steps, valid_every, save_every;
    double left; /* units of work */
};
/* Seconds left: the median of the last steps (without the first, where memory is touched for the
 * first time) for what is left, and the last validation's and save's for theirs. NaN before
 * the second step. */
double pace_left_s(const struct pace *p, const struct pace_plan *plan);

#endif
