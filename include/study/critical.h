/* Steps against batch: S = Smin + Emin/B, from which follows the critical batch.
 * Source: McCandlish et al. 2018, equation 2.11; Shallue et al. 2019. */
#ifndef CARAT_STUDY_CRITICAL_H
#define CARAT_STUDY_CRITICAL_H

#include <stdbool.h>

struct critical {
    double steps_least;    /* Smin: with batches without end */
    double examples_least; /* Emin: one example at a time, in the unit of the batch */
    double batch;          /* Bcrit = Emin/Smin: both are twice their least */
    double residual;       /* root of the mean square of log S - log fit */
};

/* Fits n points by least squares of log S; those that are not finite are passed over. False when
 * fewer than two are left. */
bool critical_fit(struct critical *c, const double *batch, const double *steps, int n);

/* Where a parabola through three points (x, y), x in order, is least; the middle x when they do not
 * bend upwards. */
double critical_least(const double x[3], const double y[3]);

#endif
