/* Steps against batch: S = Smin + Emin/B, from which follows the critical batch; and the law of the
 * best rate, lr* = a·B^x. Pure functions.
 * Source: McCandlish et al. 2018, equation 2.11; Shallue et al. 2019. */
#ifndef CARAT_STUDY_CRITICAL_H
#define CARAT_STUDY_CRITICAL_H

#include <stdbool.h>
#include <stdint.h>

enum { CRITICAL_MOST = 64 /* points of a fit */ };

struct critical {
    double steps_least;    /* Smin: with batches without end */
    double examples_least; /* Emin: one example at a time, in the unit of the batch */
    double batch;          /* Bcrit = Emin/Smin: both are twice their least */
    double residual;       /* root of the mean square of log S - log fit */
};

/* Fits n points by least squares of log S; those that are not finite are passed over. False when
 * fewer than two are left. */
bool critical_fit(struct critical *c, const double *batch, const double *steps, int n);
/* The fit's steps at a batch. */
double critical_steps(const struct critical *c, double batch);

/* Where 95 of 100 fits lie; NaN: not known. */
struct interval {
    double low, high;
};

/* Steps to a target at one batch, from several seeds. */
struct seed_steps {
    double batch;
    const double *steps; /* n, finite and above 0 */
    int n;
};

/* What fits to resampled data spread over. */
struct critical_spread {
    enum resampled { RESAMPLED_NONE, RESAMPLED_SEEDS, RESAMPLED_RESIDUALS } by;
    int n; /* resamples with a fit */
    struct interval steps_least, examples_least, batch;
    /* Of the curve at the n_at batches that were asked for: the caller's, may be NULL. */
    struct interval *steps;
};

/* Bootstrap of a fit to the geometric means of n batches' steps. Seeds are drawn again where every
 * batch has two or more, their deviations made wider by sqrt(m/(m-1)) for m seeds. Otherwise
 * residuals are: each batch keeps its fit's steps and gets the residual of one drawn at random, all
 * of them made wider by sqrt(n/(n-2)), for two constants were fitted, and by Student's t over the
 * normal's 1.96, for they are few; with fewer than four batches there is no saying
 * (RESAMPLED_NONE). The band: at n_at batches. The same for the same data. */
void critical_resample(struct critical_spread *spread, const struct critical *c,
                       const struct seed_steps *point, int n, const double *at, int n_at);

/* A best rate at a batch; error: standard error of its logarithm by the grid's spacing, 0: none. */
struct rate_at {
    double batch, lr, error;
};

struct rate_law {
    double exponent, factor; /* lr* = factor · B^exponent */
    struct interval range;   /* of the exponent */
    int n;                   /* rates that it is fitted to */
};
/* Fits n best rates by least squares of logarithms. The range is what the points' errors give,
 * wider by sqrt(chi² / (n - 2)) where they scatter more than that (the Particle Data Group's scale
 * factor); without errors Student's t of their scatter. False for fewer than two batches. */
bool rate_law_fit(struct rate_law *law, const struct rate_at *point, int n);

/* Where a parabola through three points (x, y), x in order, is least; the middle x when they do not
 * bend upwards. */
double critical_least(const double x[3], const double y[3]);

/* The step at which a curve of n validations, steps rising, first comes down to a loss: on the line
 * between the validation before and that one; INFINITY when it never does. */
double critical_crossing(const double *step, const double *loss, int n, double target);

#endif
