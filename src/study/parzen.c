/* Densities by kernels. As in Optuna 3.1, a kernel over numbers is not divided by its width, so
 * that narrow ones weigh less than in a true density. */
#include "study/tpe.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { RECENT = 25 /* of so many latest trials the weight is 1 */, NARROWEST = 100 };
#define FAR (-20.0) /* past this the normal distribution's tail is summed as a series */

double dice_uniform(struct dice *d)
{
    return rng_uniform(d->seed, d->stream, d->next++);
}

double dice_normal(struct dice *d)
{
    return rng_normal(d->seed, d->stream, d->next++);
}

static double log_cumulative(double x)
{
    if (x > FAR)
        return log(0.5 * erfc(-x * M_SQRT1_2));
    /* The asymptotic series, as far as its terms fall. */
    double sum = 1, term = 1, xx = 1 / (x * x);
    for (int i = 1; fabs(term) > 1e-17; i++) {
        term *= -(2 * i - 1) * xx;
        sum += term;
    }
    return -0.5 * x * x - log(-x) - 0.5 * log(2 * M_PI) + log(sum);
}

/* Logarithm of the normal distribution's share between a and b; in the right tail by symmetry,
 * where differences would cancel. */
static double log_mass(double a, double b)
{
    if (a > 0) {
        double left = -b;
        b = -a;
        a = left;
    }
    if (b <= 0) {
        double log_b = log_cumulative(b);
        return log_b + log1p(-exp(log_cumulative(a) - log_b));
    }
    return log1p(-0.5 * erfc(-a * M_SQRT1_2) - 0.5 * erfc(b * M_SQRT1_2));
}

/* Old trials weigh less, from 1/n on; the prior weighs 1. */
static void set_weights(struct parzen *p)
{
    int n = p->n - 1, ramp = n > RECENT ? n - RECENT : 0;
    double sum = 0;
    for (int i = 0; i < p->n; i++) {
        double first = 1.0 / n;
        p->weight[i] = i >= ramp || i == n ? 1
                       : ramp == 1         ? first
                                           : first + (1 - first) * i / (ramp - 1);
        sum += p->weight[i];
    }
    for (int i = 0; i < p->n; i++)
        p->weight[i] /= sum;
}

struct ordered {
    double mu;
    int i;
};

static int by_mu(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    return x->mu < y->mu ? -1 : x->mu > y->mu ? 1 : x->i - y->i;
}

/* Each kernel is as wide as the larger gap to its neighbours; the ends count as neighbours of
 * kernels between others alone. */
static int set_sigmas(struct parzen *p)
{
    struct ordered *o;
    int n = p->n;
    double range = p->high - p->low, least = range / fmin(NARROWEST, 1 + n);
    TRY(mem_alloc(&o, (size_t)n, sizeof *o, "kernels in order"));
    for (int i = 0; i < n; i++)
        o[i] = (struct ordered){p->mu[i], i};
    qsort(o, (size_t)n, sizeof *o, by_mu);
    for (int i = 0; i < n; i++) {
        double below = i > 0 ? o[i].mu - o[i - 1].mu : n > 1 ? 0 : o[i].mu - p->low;
        double above = i < n - 1 ? o[i + 1].mu - o[i].mu : n > 1 ? 0 : p->high - o[i].mu;
        p->sigma[o[i].i] = fmin(fmax(fmax(below, above), least), range);
    }
    p->sigma[n - 1] = range;
    mem_free(o);
    return OK;
}

int parzen_init(struct parzen *p, const struct axis *a, const double *value, int n)
{
    *p = (struct parzen){.axis = a, .n = n + 1};
    TRY(mem_alloc(&p->weight, 3 * (size_t)p->n, sizeof *p->weight, "kernels"));
    p->mu = p->weight + p->n;
    p->sigma = p->mu + p->n;
    set_weights(p);
    if (a->choice) {
        for (int i = 0; i < n; i++)
            p->mu[i] = value[i];
        p->mu[n] = -1;
        return OK;
    }
    axis_ends(a, &p->low, &p->high);
    for (int i = 0; i < n; i++)
        p->mu[i] = axis_scale(a, value[i]);
    p->mu[n] = 0.5 * (p->low + p->high);
    int rc = set_sigmas(p);
    if (rc != OK)
        parzen_release(p);
    return rc;
}

void parzen_release(struct parzen *p)
{
    MEM_FREE(p->weight);
}

/* Share of a choice's value in kernel i: that of its own value is raised by 1. */
static double share(const struct parzen *p, int i, int value)
{
    double each = 1.0 / p->n;
    double all = each * p->axis->n_values + (p->mu[i] >= 0);
    return (each + ((int)p->mu[i] == value)) / all;
}

static double kernel_log(const struct parzen *p, int i, double x)
{
    double mu = p->mu[i], sigma = p->sigma[i];
    double all = log_mass((p->low - mu) / sigma, (p->high - mu) / sigma);
    if (p->axis->whole && !p->axis->log)
        return log_mass((fmax(x - 0.5, p->low) - mu) / sigma,
                        (fmin(x + 0.5, p->high) - mu) / sigma) -
               all;
    double z = (x - mu) / sigma;
    return -0.5 * z * z - 0.5 * log(2 * M_PI) - all;
}

static double choice_log(const struct parzen *p, int value)
{
    double sum = p->weight[p->n - 1] * share(p, p->n - 1, value); /* the prior's */
    for (int i = 0; i < p->n - 1; i++)
        sum += p->weight[i] * share(p, i, value);
    return log(sum);
}

double parzen_log(const struct parzen *p, double value)
{
    if (p->axis->choice)
        return choice_log(p, (int)value);
    double x = axis_scale(p->axis, value);
    if (x < p->low || x > p->high)
        return -INFINITY;
    /* In units of the largest term so far, the prior's first: terms may lie beyond what exp gives.
     */
    double most = kernel_log(p, p->n - 1, x) + log(p->weight[p->n - 1]), sum = 1;
    for (int i = 0; i < p->n - 1; i++) {
        double term = kernel_log(p, i, x) + log(p->weight[i]), larger = fmax(most, term);
        sum = sum * exp(most - larger) + exp(term - larger);
        most = larger;
    }
    return log(sum) + most;
}

static double draw_number(const struct parzen *p, int i, struct dice *d)
{
    /* Middles lie between the ends and no kernel is wider than the range: at least a third of the
     * draws are inside. */
    double x;
    do
        x = p->mu[i] + p->sigma[i] * dice_normal(d);
    while (x < p->low || x > p->high);
    return axis_unscale(p->axis, x);
}

double parzen_draw(const struct parzen *p, struct dice *d)
{
    double u = dice_uniform(d);
    int i = 0, v = 0;
    while (i < p->n - 1 && u >= p->weight[i])
        u -= p->weight[i++];
    if (!p->axis->choice)
        return draw_number(p, i, d);
    u = dice_uniform(d);
    while (v < p->axis->n_values - 1 && u >= share(p, i, v))
        u -= share(p, i, v++);
    return v;
}
