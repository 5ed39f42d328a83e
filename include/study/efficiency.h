/* What batches and ranks come to: time and cost to a target, and which of them are worth it. Pure
 * functions. */
#ifndef CARAT_STUDY_EFFICIENCY_H
#define CARAT_STUDY_EFFICIENCY_H

#include <stdbool.h>

/* Seconds of a step of a batch on so many ranks, as measured. */
struct timing {
    double batch; /* sequences */
    int ranks;
    double step_s; /* median over the trials' medians; NaN: not measured */
    int n;         /* trials that measured it */
};

/* A batch on so many ranks, up to a target. What was not measured is NaN: nothing is filled in. */
struct way {
    double batch;
    int ranks;
    double steps; /* to the target */
    double step_s;
    double time_s;      /* steps · step_s */
    double core_h;      /* ranks · time_s / 3600, one core a rank */
    double statistical; /* Emin / E: examples that were not too many */
    double system;      /* T1 / (N · T_N), T1 on one rank at the same batch */
    double tokens_per_s;
    double goodput; /* tokens_per_s · statistical */
    bool front;     /* no other way is both faster and cheaper */
};

/* A way's figures from its batch, ranks, steps, step_s, the step's seconds on one rank (NaN: not
 * measured), the fit's Emin in sequences (NaN: no fit) and the tokens of a sequence. */
void way_fill(struct way *w, double one_rank_s, double examples_least, double seq_len);
/* Sets `front` of n ways: the Pareto front of time and cost. */
void way_front(struct way *w, int n);
/* The way on the front with the least time · cost, -1 when nothing was measured: going twice as
 * fast may cost twice as much. */
int way_choose(const struct way *w, int n);

#endif
