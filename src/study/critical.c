#include "study/critical.h"

#include <math.h>

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

double critical_least(const double x[3], const double y[3])
{
    double left = (y[1] - y[0]) / (x[1] - x[0]), right = (y[2] - y[1]) / (x[2] - x[1]);
    double bend = (right - left) / (x[2] - x[0]);
    if (!(bend > 0))
        return x[1];
    double at = (x[0] + x[1]) / 2 - left / (2 * bend);
    return fmin(fmax(at, x[0]), x[2]);
}
