#include "study/critical.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

/* Critical batches that are looked for, and how finely: the logarithm's error. */
static const double LEAST = 1e-3, MOST = 1e9, PRECISION = 1e-9;

/* For a critical batch Bc, log S = log Smin + log(1 + Bc/B): the best log Smin is a mean. */
static double misfit(double log_batch, const double *batch, const double *steps, int n,
                     double *smin)
{
    double m = 0, sum = 0, sq = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(steps[i]))
            continue;
        double d = log(steps[i]) - log1p(exp(log_batch) / batch[i]);
        m++;
        sum += d;
        sq += d * d;
    }
    *smin = exp(sum / m);
    return sqrt(fmax(sq / m - sum / m * (sum / m), 0));
}

bool critical_fit(struct critical *c, const double *batch, const double *steps, int n)
{
    const double golden = (sqrt(5) - 1) / 2;
    double low = log(LEAST), high = log(MOST), smin = 0;
    int m = 0;
    for (int i = 0; i < n; i++)
        m += isfinite(steps[i]);
    if (m < 2)
        return false;
    while (high - low > PRECISION) {
        double a = high - golden * (high - low), b = low + golden * (high - low);
        if (misfit(a, batch, steps, n, &smin) < misfit(b, batch, steps, n, &smin))
            high = b;
        else
            low = a;
    }
    double at = (low + high) / 2;
    c->residual = misfit(at, batch, steps, n, &smin);
    c->steps_least = smin;
    c->batch = exp(at);
    c->examples_least = smin * c->batch;
    return true;
}

double critical_steps(const struct critical *c, double batch)
{
    return c->steps_least + c->examples_least / batch;
}

/* ---- what a fit is worth: resampling ---- */

enum { RESAMPLES = 1000, MOST_POINTS = 64, MOST_AT = 128, RESAMPLE_KEY = 5 };

struct resamples {
    struct critical fit[RESAMPLES];
    int n;
};

/* A whole number below n: of resample k, for point i, its draw j. */
static int draw(int k, int i, int j, int n)
{
    uint64_t counter = ((uint64_t)i << 32) + (uint64_t)j;
    return (int)(rng_uniform(RESAMPLE_KEY, (uint64_t)k, counter) * n);
}

static void resample_seeds(double *log_steps, int k, const struct seed_steps *point, int n)
{
    for (int i = 0; i < n; i++) {
        log_steps[i] = 0;
        for (int j = 0; j < point[i].n; j++)
            log_steps[i] += log(point[i].steps[draw(k, i, j, point[i].n)]) / point[i].n;
    }
}

static double mean_log(const struct seed_steps *p)
{
    double sum = 0;
    for (int j = 0; j < p->n; j++)
        sum += log(p->steps[j]);
    return sum / p->n;
}

static void resample_residuals(double *log_steps, int k, const struct critical *c,
                               const struct seed_steps *point, int n)
{
    double wider = sqrt(n / (n - 2.0));
    for (int i = 0; i < n; i++) {
        const struct seed_steps *from = &point[draw(k, i, 0, n)];
        double residual = mean_log(from) - log(critical_steps(c, from->batch));
        log_steps[i] = log(critical_steps(c, point[i].batch)) + wider * residual;
    }
}

static void resample_fits(struct resamples *r, enum resampled by, const struct critical *c,
                          const struct seed_steps *point, int n)
{
    double batch[MOST_POINTS], steps[MOST_POINTS];
    r->n = 0;
    for (int i = 0; i < n; i++)
        batch[i] = point[i].batch;
    for (int k = 0; k < RESAMPLES; k++) {
        if (by == RESAMPLED_SEEDS)
            resample_seeds(steps, k, point, n);
        else
            resample_residuals(steps, k, c, point, n);
        for (int i = 0; i < n; i++)
            steps[i] = exp(steps[i]);
        r->n += critical_fit(&r->fit[r->n], batch, steps, n);
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
    for (int k = 0; k < r->n; k++)
        v[k] = r->fit[k].steps_least;
    s->steps_least = middle(v, r->n);
    for (int k = 0; k < r->n; k++)
        v[k] = r->fit[k].examples_least;
    s->examples_least = middle(v, r->n);
    for (int k = 0; k < r->n; k++)
        v[k] = r->fit[k].batch;
    s->batch = middle(v, r->n);
    for (int i = 0; i < n_at; i++) {
        for (int k = 0; k < r->n; k++)
            v[k] = critical_steps(&r->fit[k], at[i]);
        s->steps[i] = middle(v, r->n);
    }
}

static enum resampled choose_resampling(const struct seed_steps *point, int n)
{
    bool seeds = n >= 2;
    for (int i = 0; i < n; i++)
        seeds = seeds && point[i].n >= 2;
    return seeds ? RESAMPLED_SEEDS : n >= 4 && n <= MOST_POINTS ? RESAMPLED_RESIDUALS : RESAMPLED_NONE;
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
    spread->n = r.n;
    spread_over(spread, &r, at, n_at);
}

/* ---- the best rate's law ---- */

/* Two-sided 95% of Student's t. */
static double student(int freedom)
{
    static const double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228};
    const int n = sizeof t / sizeof t[0];
    return freedom <= n ? t[freedom - 1] : 1.96 + 2.7 / freedom;
}

bool rate_law_fit(struct rate_law *law, const struct rate_at *point, int n)
{
    double x = 0, y = 0, xx = 0, xy = 0, left = 0, errors = 0;
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
    for (int i = 0; i < n; i++) {
        double d = log(point[i].lr / law->factor) - law->exponent * log(point[i].batch);
        left += d * d;
    }
    double half = 1.96 * sqrt(errors) / xx;
    if (n > 2)
        half = fmax(half, student(n - 2) * sqrt(left / (n - 2) / xx));
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
