/* Tree-structured Parzen estimators: a density over the better trials, one over the others, and
 * the point at which their ratio is largest, for each axis alone.
 * Source: Bergstra et al. 2011, section 4; in the form of Optuna 3's TPESampler with its defaults
 * and constant_liar. */
#ifndef CARAT_STUDY_TPE_H
#define CARAT_STUDY_TPE_H

#include "study/space.h"

/* A stream of random numbers that nothing but its name decides. */
struct dice {
    uint64_t seed, stream, next;
};
double dice_uniform(struct dice *d); /* in [0, 1) */
double dice_normal(struct dice *d);

/* A trial as samplers see it: its point and how it ranks, by `step`, then by value, less is
 * better. */
struct seen {
    const double *point; /* [space.n] */
    double step;         /* ended: SEEN_DONE; given up: minus its milestones; running: INFINITY */
    double value;        /* loss */
};
#define SEEN_DONE (-INFINITY)

/* A mixture: one truncated normal (of a choice: one table) around each of n values, and a broad one
 * as a prior. */
struct parzen {
    const struct axis *axis;
    int n;                       /* with the prior */
    double low, high;            /* axis_ends */
    double *weight, *mu, *sigma; /* [n]; of a choice mu alone: the value's place, -1 the prior's */
};
/* value[n], oldest first. E_MEM. */
int parzen_init(struct parzen *p, const struct axis *a, const double *value, int n);
void parzen_release(struct parzen *p);
/* Logarithm of the density, or of a whole number's or choice's share. */
double parzen_log(const struct parzen *p, double value);
double parzen_draw(const struct parzen *p, struct dice *d);

/* How many of n ended trials count as good: a tenth, rounded up, 25 at most. */
int tpe_n_good(int n_ended);
/* Marks the n_good best; of equals the older ones. E_MEM. */
int tpe_split(bool *good, const struct seen *seen, int n, int n_good);
/* Fills in the axes of point that apply, from the trials seen, oldest first. E_MEM. */
int tpe_propose(double *point, const struct space *s, const struct seen *seen, int n,
                int n_candidates, struct dice *d);

#endif
