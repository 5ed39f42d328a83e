#include "study/prior.h"

#include <math.h>
#include <string.h>

/* A column of which the others leave less than this share is no column of its own. */
static const double OWN_SHARE = 1e-9;
static const double OUTSIDE = 2;

static void assume(struct prior *p, struct prior_assumption a)
{
    p->exponent[PRIOR_BATCH] =
        a.adaptive ? (struct prior_exponent){.value = 0.5, .source = "Malladi et al. 2022"}
                   : (struct prior_exponent){.value = 1, .source = "Goyal et al. 2017"};
    p->exponent[PRIOR_TOKENS] =
        (struct prior_exponent){.value = -0.32, .source = "Bjorck et al. 2025"};
    p->exponent[PRIOR_PARAMS] =
        a.mup ? (struct prior_exponent){.value = 0, .source = "muP, Yang et al. 2021"}
              : (struct prior_exponent){.value = -0.23, .source = "Bjorck et al. 2025"};
    for (int k = 0; k < PRIOR_N; k++) {
        p->exponent[k].assumed = true;
        p->exponent[k].error = PRIOR_ASSUMED_ERROR;
    }
}

static double weight(const struct prior_point *x)
{
    return 1 / (x->error * x->error);
}

/* The points' weighted mean, and what they span. */
static void find_centre(struct prior *p, const struct prior_point *x, int n, double *weights)
{
    double sum[PRIOR_N] = {0};
    *weights = p->log_lr = 0;
    for (int k = 0; k < PRIOR_N; k++) {
        p->low[k] = INFINITY;
        p->high[k] = -INFINITY;
    }
    for (int i = 0; i < n; i++) {
        *weights += weight(&x[i]);
        p->log_lr += weight(&x[i]) * log(x[i].lr);
        for (int k = 0; k < PRIOR_N; k++) {
            double v = log(x[i].at[k]);
            sum[k] += weight(&x[i]) * v;
            p->low[k] = fmin(p->low[k], v);
            p->high[k] = fmax(p->high[k], v);
        }
    }
    p->log_lr /= *weights;
    for (int k = 0; k < PRIOR_N; k++)
        p->centre[k] = sum[k] / *weights;
}

/* Inverts a symmetric positive matrix of m columns by Gauss and Jordan; false when a column is
 * nearly made of the ones before it. */
static bool invert(double inverse[PRIOR_N][PRIOR_N], double a[PRIOR_N][PRIOR_N], int m)
{
    double whole[PRIOR_N];
    for (int i = 0; i < m; i++) {
        whole[i] = a[i][i];
        for (int j = 0; j < m; j++)
            inverse[i][j] = i == j;
    }
    for (int i = 0; i < m; i++) {
        double pivot = a[i][i];
        if (!(pivot > OWN_SHARE * whole[i]) || whole[i] <= 0)
            return false;
        for (int j = 0; j < m; j++) {
            a[i][j] /= pivot;
            inverse[i][j] /= pivot;
        }
        for (int r = 0; r < m; r++) {
            double f = a[r][i];
            for (int j = 0; r != i && j < m; j++) {
                a[r][j] -= f * a[i][j];
                inverse[r][j] -= f * inverse[i][j];
            }
        }
    }
    return true;
}

/* log lr without the law's value there. */
static double residual(const struct prior *p, const struct prior_point *x)
{
    double left = log(x->lr) - p->log_lr;
    for (int k = 0; k < PRIOR_N; k++)
        left -= p->exponent[k].value * (log(x->at[k]) - p->centre[k]);
    return left;
}

/* By how much the points miss the law, over what their own errors explain; at least 1. m: exponents
 * that were fitted. */
static double excess(const struct prior *p, const struct prior_point *x, int n, int m)
{
    double chi2 = 0;
    for (int i = 0; i < n; i++) {
        double r = residual(p, &x[i]);
        chi2 += weight(&x[i]) * r * r;
    }
    return n > m + 1 ? sqrt(fmax(chi2 / (n - m - 1), 1)) : 1;
}

/* Sets the m exponents of `column` by the points, the others staying as they are. False when the
 * points do not tell them apart. */
static bool solve(struct prior *p, const struct prior_point *x, int n, const int *column, int m)
{
    double a[PRIOR_N][PRIOR_N] = {{0}}, inverse[PRIOR_N][PRIOR_N], b[PRIOR_N] = {0};
    for (int j = 0; j < m; j++)
        p->exponent[column[j]] = (struct prior_exponent){0};
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) {
            double v = log(x[i].at[column[j]]) - p->centre[column[j]];
            b[j] += weight(&x[i]) * v * residual(p, &x[i]);
            for (int l = 0; l < m; l++)
                a[j][l] += weight(&x[i]) * v * (log(x[i].at[column[l]]) - p->centre[column[l]]);
        }
    if (n < m + 1 || !invert(inverse, a, m))
        return false;
    for (int j = 0; j < m; j++)
        for (int l = 0; l < m; l++)
            p->exponent[column[j]].value += inverse[j][l] * b[l];
    double s = excess(p, x, n, m);
    memset(p->covariance, 0, sizeof p->covariance);
    for (int j = 0; j < m; j++) {
        p->exponent[column[j]].error = s * sqrt(inverse[j][j]);
        for (int l = 0; l < m; l++)
            p->covariance[column[j]][column[l]] = s * s * inverse[j][l];
    }
    return true;
}

static bool determined(const struct prior *p, const int *column, int m)
{
    for (int j = 0; j < m; j++)
        if (!(p->exponent[column[j]].error < PRIOR_ASSUMED_ERROR))
            return false;
    return true;
}

/* The batch's exponent first: it is the one that is used most. */
bool prior_fit(struct prior *p, const struct prior_point *point, int n, struct prior_assumption a)
{
    double weights;
    int column[PRIOR_N], m = 0;
    memset(p, 0, sizeof *p);
    if (n < 1)
        return false;
    p->n = n;
    find_centre(p, point, n, &weights);
    assume(p, a);
    for (int k = 0; k < PRIOR_N; k++) {
        struct prior with = *p;
        column[m] = k;
        if (!solve(&with, point, n, column, m + 1) || !determined(&with, column, m + 1))
            continue;
        *p = with;
        m++;
    }
    double s = excess(p, point, n, m);
    p->centre_error = s / sqrt(weights);
    p->scatter = s / sqrt(weights / n);
    return true;
}

struct prior_guess prior_guess(const struct prior *p, const double at[PRIOR_N])
{
    double log_lr = p->log_lr, away[PRIOR_N];
    double variance = p->centre_error * p->centre_error + p->scatter * p->scatter;
    struct prior_guess g = {.outside = false};
    for (int k = 0; k < PRIOR_N; k++) {
        away[k] = log(at[k]) - p->centre[k];
        log_lr += p->exponent[k].value * away[k];
        if (p->exponent[k].assumed)
            variance += pow(p->exponent[k].error * away[k], 2);
        g.outside |=
            log(at[k]) < p->low[k] - log(OUTSIDE) || log(at[k]) > p->high[k] + log(OUTSIDE);
    }
    for (int k = 0; k < PRIOR_N; k++)
        for (int l = 0; l < PRIOR_N; l++)
            variance += p->covariance[k][l] * away[k] * away[l];
    g.lr = exp(log_lr);
    g.factor = exp(sqrt(variance));
    return g;
}

static void add_label(struct str *text, const char *label, int column)
{
    if (column > 0)
        str_addf(text, "%-*s", column, label);
    else
        str_addf(text, "%s: ", label);
}

static void add_exponent(struct str *text, const char *name, const struct prior_exponent *e)
{
    if (e->assumed)
        str_addf(text, "%s %.3g assumed (%s)", name, e->value, e->source);
    else
        str_addf(text, "%s %.3g ± %.2g from the data", name, e->value, e->error);
}

void prior_show(struct str *text, const struct prior *p, int column)
{
    static const char *const name[PRIOR_N] = {"B", "D", "N"};
    double a = p->log_lr;
    for (int k = 0; k < PRIOR_N; k++)
        a -= p->exponent[k].value * p->centre[k];
    add_label(text, "law", column);
    str_addf(text, "lr* = %.3g", exp(a));
    for (int k = 0; k < PRIOR_N; k++)
        str_addf(text, " · %s^%.3g", name[k], p->exponent[k].value);
    str_add(text, "   (B, D: tokens of a step and of the run; N: parameters)\n");
    add_label(text, "exponents", column);
    for (int k = 0; k < PRIOR_N; k++) {
        str_add(text, k > 0 ? "; " : "");
        add_exponent(text, name[k], &p->exponent[k]);
    }
    str_add(text, "\n");
    add_label(text, "fit", column);
    str_addf(text, "%d best rate%s, about the law by a factor of %.2f\n", p->n, p->n > 1 ? "s" : "",
             exp(p->scatter));
}
