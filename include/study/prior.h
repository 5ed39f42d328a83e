/* Memory of past studies: the law lr* = a · B^α · D^-β · N^-γ of the best learning rate in the
 * batch's tokens B, the run's tokens D and the model's parameters N, by least squares of logarithms
 * over best rates that were found before. Pure functions.
 *
 * An exponent is taken from the data once they determine it better than it is known beforehand;
 * until then it is assumed: α 1/2 for Adam and its like (Malladi et al. 2022), 1 for SGD (Goyal et
 * al. 2017); β 0.32 and γ 0.23 (Bjorck et al. 2025, whose batch was the same throughout); γ 0 with
 * muP (Yang et al. 2021). */
#ifndef CARAT_STUDY_PRIOR_H
#define CARAT_STUDY_PRIOR_H

#include "base/str.h"

#include <stdbool.h>

enum { PRIOR_BATCH, PRIOR_TOKENS, PRIOR_PARAMS, PRIOR_N };

/* So uncertain is an exponent that is assumed: published ones differ by about as much. */
#define PRIOR_ASSUMED_ERROR 0.25

/* A best rate that was found. */
struct prior_point {
    double at[PRIOR_N]; /* tokens of a step, tokens of the run, parameters */
    double lr;
    double error; /* standard error of log lr: how near the rates beside it were */
};

struct prior_exponent {
    double value; /* lr* ~ x^value, so that β and γ have their minus here */
    double error; /* standard error */
    bool assumed;
    const char *source; /* of an assumed one */
};

struct prior {
    int n;                                               /* points */
    double log_lr;                                       /* at the points' centre */
    double centre[PRIOR_N], low[PRIOR_N], high[PRIOR_N]; /* of the points: logarithms */
    struct prior_exponent exponent[PRIOR_N];
    double covariance[PRIOR_N][PRIOR_N]; /* of the exponents */
    double centre_error;                 /* of log_lr */
    double scatter;                      /* of a best rate's logarithm about the law */
};

/* What is assumed of exponents, for this optimizer; mup: the model is scaled by muP. */
struct prior_assumption {
    bool adaptive, mup;
};

/* Fits n points. False when there is none. */
bool prior_fit(struct prior *p, const struct prior_point *point, int n, struct prior_assumption a);

struct prior_guess {
    double lr;
    double factor; /* a standard error up or down: times or over this */
    bool outside;  /* of what the points span, by more than a factor of 2 */
};
struct prior_guess prior_guess(const struct prior *p, const double at[PRIOR_N]);

/* Adds the law in three lines, with each exponent's error or source. column: where a line goes on
 * behind its label; 0: at once, behind a colon. */
void prior_show(struct str *text, const struct prior *p, int column);

#endif
