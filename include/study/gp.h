/* A Gaussian process over the unit cube and the point of largest expected improvement.
 * Source: Rasmussen and Williams 2006, algorithm 2.1 and equation 4.17 (Matérn 5/2); Jones et al.
 * 1998, equation 15. Pure functions. */
#ifndef CARAT_STUDY_GP_H
#define CARAT_STUDY_GP_H

#include "study/tpe.h"

/* Fitted to n values at n places of d coordinates each; values are centred and scaled. */
struct gp {
    int n, d;
    double *x;       /* [n][d] */
    double *y;       /* [n] */
    double *length;  /* [d]: how far values are alike along a coordinate */
    double noise;    /* variance of a value's error, as a share of the process's */
    double variance; /* of the process */
    double mean, scale;
    double *factor, *weight; /* lower Cholesky factor [n][n], K⁻¹y [n] */
    double *scratch;         /* [n] of gp_predict */
};

/* Chooses lengths and noise by the likelihood, from three starts. x and y are copied. Takes time
 * that grows as n³: for a few hundred values. E_MEM. */
int gp_fit(struct gp *g, const double *x, const double *y, int n, int d);
void gp_release(struct gp *g);
/* Mean and standard deviation of the process at x[d], in the values' unit. */
void gp_predict(const struct gp *g, const double *x, double *mean, double *deviation);
/* By how much a value below `best` is expected at mean ± deviation: never below 0. */
double expected_improvement(double best, double mean, double deviation);

/* Coordinates of points: one for each number, one for each value of a choice. */
int gp_width(const struct space *s);
void gp_encode(const struct space *s, const double *point, double *x);
/* Fills in the axes of point that apply. Trials that still run count as good as the best one
 * (constant liar; Ginsbourger et al. 2010), diverged ones as bad as the worst; of
 * more than 300 the worst are left out. E_MEM. */
int gp_propose(double *point, const struct space *s, const struct seen *seen, int n,
               struct dice *d);

#endif
