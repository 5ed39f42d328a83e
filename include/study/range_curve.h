/* A learning-rate range test in numbers: the rates that it tries, the loss at each, and what the
 * curve suggests. Pure functions, the same on every rank. */
#ifndef CARAT_STUDY_RANGE_CURVE_H
#define CARAT_STUDY_RANGE_CURVE_H

#include <stdbool.h>
#include <stdint.h>

struct range_ramp {
    double from, to; /* rates, 0 < from < to */
    int64_t steps;
    bool linear; /* else exponential */
};

/* What a range test does that is told nothing else. From much lower rates on, at which nothing
 * happens, the longest fall begins in noise and its middle comes out too low. */
extern const struct range_ramp RANGE_DEFAULT;

enum range_end {
    RANGE_WHOLE,    /* all steps were made */
    RANGE_DIVERGED, /* the smoothed loss was above RANGE_STOP times its best */
    RANGE_NONFINITE /* the last point's loss or gradient was not finite */
};

/* The smoothed loss may be so many times its best. Source: fastai, callback.schedule, LRFinder. */
#define RANGE_STOP 4.0

struct range_curve {
    struct range_ramp ramp;
    int64_t n; /* points */
    double *lr, *loss, *smooth;
    int64_t *fall; /* scratch of range_suggest */
    enum range_end end;
    double average, best; /* of the smoothing; of the smoothed loss */
};

/* Room for the ramp's steps. E_MEM. */
int range_curve_init(struct range_curve *c, const struct range_ramp *ramp);
void range_curve_release(struct range_curve *c);

/* The rate of step i, from 0: from·(to/from)^(i/steps), or from + (to-from)·i/steps. Source:
 * SCIENCE, section 5. */
double range_rate(const struct range_ramp *r, int64_t i);

/* Adds a step's loss (NaN: not finite) at the rate lr: an exponential average with weight 0.98,
 * debiased. False when the test ends here; c->end says why. */
bool range_add(struct range_curve *c, double lr, double loss);

/* Rates that the curve suggests; NaN where it has none. */
struct range_suggestion {
    int64_t n;       /* points looked at, from `first` on */
    int64_t first;   /* the first tenth of the ramp and the last 5 points are left out */
    double valley;   /* in the middle of the longest fall */
    double steepest; /* where the loss falls fastest over the logarithm of the rate */
    double minimum;  /* a tenth of the rate of the least loss */
    bool weak;       /* the loss falls by no more than it changes from one batch to the next */
    bool falling;    /* the least loss is the last: a higher end of the ramp would show more */
};
void range_suggest(struct range_suggestion *s, const struct range_curve *c);

/* x in lr ~ B^x, by least squares of logarithms over n batches with finite rates; NaN when fewer
 * than two of them are. */
double range_exponent(const double *batch, const double *lr, int n);

#endif
