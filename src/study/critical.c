#include "study/critical.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

/* Critical batches that are looked for, and how finely: the logarithm's error. */
static const double LEAST = 1e-3, MOST = 1e9, PRECISION = 1e-8;

/* For a critical batch Bc, log S = log Smin + log(1 + Bc/B): the best log Smin is a mean. */
static double misfit(double log_batch, const double *batch, const double *log_steps, int n,
                     double *log_smin)
{
    double bc = exp(log_batch), sum = 0, sq = 0;
    for (int i = 0; i < n; i++) {
        double d = log_steps[i] - log1p(bc / batch[i]);
        sum += d;
        sq += d * d;
    }
    *log_smin = sum / n;
    return sqrt(fmax(sq / n - *log_smin * *log_smin, 0));
}

/* By golden sections of the logarithm of the critical batch; n >= 2 finite points. */
static void fit_logs(struct critical *c, const double *batch, const double *log_steps, int n)
{
    const double golden = (sqrt(5) - 1) / 2;
    double low = log(LEAST), high = log(MOST), log_smin = 0;
    double a = high - golden * (high - low), b = low + golden * (high - low);
    double at_a = misfit(a, batch, log_steps, n, &log_smin);
    double at_b = misfit(b, batch, log_steps, n, &log_smin);
    while (high - low > PRECISION) {
        if (at_a < at_b) {
            high = b;
            b = a;
            at_b = at_a;
            a = high - golden * (high - low);
            at_a = misfit(a, batch, log_steps, n, &log_smin);
        } else {
            low = a;
            a = b;
            at_a = at_b;
            b = low + golden * (high - low);
            at_b = misfit(b, batch, log_steps, n, &log_smin);
        }
    }
    c->residual = misfit((low + high) / 2, batch, log_steps, n, &log_smin);
    c->steps_least = exp(log_smin);
    c->batch = exp((low + high) / 2);
    c->examples_least = c->steps_least * c->batch;
}

bool critical_fit(struct critical *c, const double *batch, const double *steps, int n)
{
    double at[CRITICAL_MOST], log_steps[CRITICAL_MOST];
    int m = 0;
    for (int i = 0; i < n && m < CRITICAL_MOST; i++)
        if (isfinite(steps[i])) {
            at[m] = batch[i];
            log_steps[m++] = log(steps[i]);
        }
    if (m < 2)
        return false;
    fit_logs(c, at, log_steps, m);
    return true;
}

double critical_steps(const struct critical *c, double batch)
{
    return c->steps_least + c->examples_least / batch;
}

/* ---- what a fit is worth: resampling ---- */

enum { RESAMPLES = 1000, RESAMPLE_KEY = 5 };

struct resamples {
    struct critical fit[RESAMPLES];
};

/* Two-sided 95% of the normal distribution, and of Student's t. */
static const double NORMAL = 1.96;

/* freedom: at least 1 */
static double student(int freedom)
{
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571,
                               2.447,  2.365, 2.306, 2.262, 2.228};
    const int n = sizeof t / sizeof t[0];
    return freedom >= 1 && freedom <= n ? t[freedom - 1] : NORMAL + 2.7 / freedom;
}

/* A whole number below n: of resample k, for point i, its draw j. */
static int draw(int k, int i, int j, int n)
{
    uint64_t counter = ((uint64_t)i << 32) + (uint64_t)j;
    return (int)(rng_uniform(RESAMPLE_KEY, (uint64_t)k, counter) * n);
}

static double mean_log(const struct seed_steps *p)
{
    double sum = 0;
    for (int j = 0; j < p->n; j++)
        sum += log(p->steps[j]);
    return sum / p->n;
}

/* A mean was taken away: deviations from it are too small by sqrt(1 - 1/n). */
static void resample_seeds(double *log_steps, int k, const struct seed_steps *point, int n)
{
    for (int i = 0; i < n; i++) {
        double mean = mean_log(&point[i]), sum = 0;
        for (int j = 0; j < point[i].n; j++)
            sum += log(point[i].steps[draw(k, i, j, point[i].n)]) - mean;
        log_steps[i] = mean + sum / point[i].n * sqrt(point[i].n / (point[i].n - 1.0));
    }
}

static void resample_residuals(double *log_steps, int k, const struct critical *c,
                               const struct seed_steps *point, int n)
{
    double wider = sqrt(n / (n - 2.0)) * student(n - 2) / NORMAL;
    for (int i = 0; i < n; i++) {
        const struct seed_steps *from = &point[draw(k, i, 0, n)];
        double residual = mean_log(from) - log(critical_steps(c, from->batch));
        log_steps[i] = log(critical_steps(c, point[i].batch)) + wider * residual;
    }
}

static void resample_fits(struct resamples *r, enum resampled by, const struct critical *c,
                          const struct seed_steps *point, int n)
{
    double batch[CRITICAL_MOST], log_steps[CRITICAL_MOST];
    for (int i = 0; i < n; i++)
        batch[i] = point[i].batch;
    for (int k = 0; k < RESAMPLES; k++) {
        if (by == RESAMPLED_SEEDS)
            resample_seeds(log_steps, k, point, n);
        else
            resample_residuals(log_steps, k, c, point, n);
        fit_logs(&r->fit[k], batch, log_steps, n);
    }
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Sorts v; the middle 95 of 100. */
static struct interval middle(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    return (struct interval){v[(int)(0.025 * (n - 1))], v[(int)ceil(0.975 * (n - 1))]};
}

static void spread_over(struct critical_spread *s, const struct resamples *r, const double *at,
                        int n_at)
{
    double v[RESAMPLES];
    for (int k = 0; k < RESAMPLES; k++)
        v[k] = r->fit[k].steps_least;
    s->steps_least = middle(v, RESAMPLES);
    for (int k = 0; k < RESAMPLES; k++)
        v[k] = r->fit[k].examples_least;
    s->examples_least = middle(v, RESAMPLES);
    for (int k = 0; k < RESAMPLES; k++)
        v[k] = r->fit[k].batch;
    s->batch = middle(v, RESAMPLES);
    for (int i = 0; i < n_at; i++) {
        for (int k = 0; k < RESAMPLES; k++)
            v[k] = critical_steps(&r->fit[k], at[i]);
        s->steps[i] = middle(v, RESAMPLES);
    }
}

static enum resampled choose_resampling(const struct seed_steps *point, int n)
{
    bool seeds = n >= 2 && n <= CRITICAL_MOST;
    for (int i = 0; i < n; i++)
        seeds = seeds && point[i].n >= 2;
    return seeds                          ? RESAMPLED_SEEDS
           : n >= 4 && n <= CRITICAL_MOST ? RESAMPLED_RESIDUALS
                                          : RESAMPLED_NONE;
}

void critical_resample(struct critical_spread *spread, const struct critical *c,
                       const struct seed_steps *point, int n, const double *at, int n_at)
{
    struct resamples r;
    const struct interval unknown = {NAN, NAN};
    spread->by = choose_resampling(point, n);
    spread->n = 0;
    spread->steps_least = spread->examples_least = spread->batch = unknown;
    for (int i = 0; i < n_at; i++)
        spread->steps[i] = unknown;
    if (spread->by == RESAMPLED_NONE)
        return;
    resample_fits(&r, spread->by, c, point, n);
    spread->n = RESAMPLES;
    spread_over(spread, &r, at, n_at);
}

/* ---- the best rate's law ---- */

/* Sums of a fit's residuals: as they are, and in units of each point's own error. */
struct leftover {
    double square, chi;
    bool known; /* every point has an error */
};

static struct leftover left_over(const struct rate_law *law, const struct rate_at *point, int n)
{
    struct leftover l = {.known = true};
    for (int i = 0; i < n; i++) {
        double d = log(point[i].lr / law->factor) - law->exponent * log(point[i].batch);
        l.square += d * d;
        l.known = l.known && point[i].error > 0;
        l.chi += l.known ? d * d / (point[i].error * point[i].error) : 0;
    }
    return l;
}

bool rate_law_fit(struct rate_law *law, const struct rate_at *point, int n)
{
    double x = 0, y = 0, xx = 0, xy = 0, errors = 0;
    for (int i = 0; i < n; i++) {
        x += log(point[i].batch) / n;
        y += log(point[i].lr) / n;
    }
    for (int i = 0; i < n; i++) {
        double d = log(point[i].batch) - x;
        xx += d * d;
        xy += d * (log(point[i].lr) - y);
        errors += d * d * point[i].error * point[i].error;
    }
    if (n < 2 || xx <= 0)
        return false;
    law->n = n;
    law->exponent = xy / xx;
    law->factor = exp(y - law->exponent * x);
    struct leftover l = left_over(law, point, n);
    double half = NORMAL * sqrt(errors) / xx;
    if (n > 2)
        half = l.known ? half * sqrt(fmax(1, l.chi / (n - 2)))
                       : student(n - 2) * sqrt(l.square / (n - 2) / xx);
    law->range = (struct interval){law->exponent - half, law->exponent + half};
    return true;
}

double critical_least(const double x[3], const double y[3])
{
    double left = (y[1] - y[0]) / (x[1] - x[0]), right = (y[2] - y[1]) / (x[2] - x[1]);
    double bend = (right - left) / (x[2] - x[0]);
    if (!(bend > 0))
        return x[1];
    double at = (x[0] + x[1]) / 2 - left / (2 * bend);
    return fmin(fmax(at, x[0]), x[2]);
}

double critical_crossing(const double *step, const double *loss, int n, double target)
{
    for (int i = 0; i < n; i++) {
        if (!(loss[i] <= target))
            continue;
        if (i == 0 || !isfinite(loss[i - 1]))
            return step[i];
        return step[i - 1] +
               (step[i] - step[i - 1]) * (loss[i - 1] - target) / (loss[i - 1] - loss[i]);
    }
    return INFINITY;
}
