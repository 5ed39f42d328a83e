#include "study/gp.h"

#include "base/err.h"
#include "base/mem.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define NOISE_LEAST  1e-6 /* keeps near copies of a point from making the matrix singular */
#define NOISE_MOST   1.0
#define LENGTH_LEAST 0.03
#define LENGTH_MOST  20.0
#define FIRST_STEP   1.0 /* of the search over logarithms of lengths and noise */
#define LAST_STEP    0.1

/* Matérn 5/2 at the scaled distance between two places. */
static double kernel(const struct gp *g, const double *a, const double *b)
{
    double rr = 0;
    for (int k = 0; k < g->d; k++) {
        double t = (a[k] - b[k]) / g->length[k];
        rr += t * t;
    }
    double r = sqrt(5 * rr);
    return (1 + r + 5 * rr / 3) * exp(-r);
}

/* In place, lower triangle; false when the matrix is not positive definite. */
static bool cholesky(double *a, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (int k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            if (i == j && sum <= 0)
                return false;
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
    return true;
}

/* x := L⁻¹x */
static void solve_lower(const double *l, double *x, int n)
{
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++)
            x[i] -= l[i * n + k] * x[k];
        x[i] /= l[i * n + i];
    }
}

/* x := L⁻ᵀx */
static void solve_upper(const double *l, double *x, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++)
            x[i] -= l[k * n + i] * x[k];
        x[i] /= l[i * n + i];
    }
}

/* Factor, weights and variance for the present lengths and noise. The logarithm of the likelihood,
 * with the variance that makes it largest; -inf when the matrix is singular. */
static double likelihood(struct gp *g)
{
    int n = g->n;
    double fit = 0, determinant = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            g->factor[i * n + j] =
                kernel(g, g->x + i * g->d, g->x + j * g->d) + (i == j ? g->noise : 0);
    if (!cholesky(g->factor, n))
        return -INFINITY;
    memcpy(g->weight, g->y, (size_t)n * sizeof *g->y);
    solve_lower(g->factor, g->weight, n);
    for (int i = 0; i < n; i++) {
        fit += g->weight[i] * g->weight[i];
        determinant += 2 * log(g->factor[i * n + i]);
    }
    solve_upper(g->factor, g->weight, n);
    g->variance = fmax(fit / n, DBL_MIN);
    return -0.5 * (n * log(g->variance) + determinant);
}

/* The same less a weak pull of lengths towards 1/2 and of noise towards little, without which few
 * values would let them go anywhere. */
static double merit(struct gp *g)
{
    double pull = 0;
    for (int k = 0; k < g->d; k++) {
        double t = log(g->length[k] / 0.5);
        pull += 0.5 * t * t;
    }
    double t = log(g->noise / 1e-4) / 4;
    return likelihood(g) - pull - 0.5 * t * t;
}

/* Tries a step of one parameter's logarithm, either way; true when it raised the merit. */
static bool step_one(struct gp *g, double *p, double low, double high, double step, double *best)
{
    double was = *p;
    for (int sign = -1; sign <= 1; sign += 2) {
        *p = fmin(fmax(was * exp(sign * step), low), high);
        double m = *p != was ? merit(g) : -INFINITY;
        if (m > *best) {
            *best = m;
            return true;
        }
    }
    *p = was;
    return false;
}

/* Climbs one parameter at a time, with steps that are halved when none helps. */
static double climb(struct gp *g)
{
    double best = merit(g);
    for (double step = FIRST_STEP; step >= LAST_STEP;) {
        bool moved = step_one(g, &g->noise, NOISE_LEAST, NOISE_MOST, step, &best);
        for (int k = 0; k < g->d; k++)
            moved |= step_one(g, &g->length[k], LENGTH_LEAST, LENGTH_MOST, step, &best);
        if (!moved)
            step /= 2;
    }
    return best;
}

static void set_all(struct gp *g, double length, double noise)
{
    for (int k = 0; k < g->d; k++)
        g->length[k] = length;
    g->noise = noise;
}

/* The best of several starts stays. */
static int choose(struct gp *g)
{
    static const struct {
        double length, noise;
    } starts[] = {{0.5, 1e-4}, {0.15, 1e-3}, {1.5, 1e-2}};
    double best = -INFINITY, *kept, noise = starts[0].noise;
    TRY(mem_alloc(&kept, (size_t)g->d, sizeof *kept, "lengths"));
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        set_all(g, starts[i].length, starts[i].noise);
        double m = climb(g);
        if (m > best || i == 0) {
            best = m;
            noise = g->noise;
            memcpy(kept, g->length, (size_t)g->d * sizeof *kept);
        }
    }
    memcpy(g->length, kept, (size_t)g->d * sizeof *kept);
    g->noise = noise;
    mem_free(kept);
    while (likelihood(g) == -INFINITY)
        g->noise *= 10;
    return OK;
}

/* Copies y with mean 0 and variance 1. */
static void standardize(struct gp *g, const double *y)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < g->n; i++)
        sum += y[i];
    g->mean = sum / g->n;
    for (int i = 0; i < g->n; i++)
        squares += (y[i] - g->mean) * (y[i] - g->mean);
    g->scale = squares > 0 ? sqrt(squares / g->n) : 1;
    for (int i = 0; i < g->n; i++)
        g->y[i] = (y[i] - g->mean) / g->scale;
}

int gp_fit(struct gp *g, const double *x, const double *y, int n, int d)
{
    *g = (struct gp){.n = n, .d = d};
    size_t nn = (size_t)n, dd = (size_t)d;
    TRY(mem_alloc(&g->x, nn * dd + dd + 3 * nn + nn * nn, sizeof *g->x, "a Gaussian process"));
    g->length = g->x + nn * dd;
    g->y = g->length + d;
    g->weight = g->y + n;
    g->scratch = g->weight + n;
    g->factor = g->scratch + n;
    memcpy(g->x, x, nn * dd * sizeof *x);
    standardize(g, y);
    int rc = choose(g);
    if (rc != OK)
        gp_release(g);
    return rc;
}

void gp_release(struct gp *g)
{
    MEM_FREE(g->x);
}

void gp_predict(const struct gp *g, const double *x, double *mean, double *deviation)
{
    double sum = 0, left = 1, *covariance = g->scratch;
    for (int i = 0; i < g->n; i++) {
        covariance[i] = kernel(g, x, g->x + i * g->d);
        sum += covariance[i] * g->weight[i];
    }
    solve_lower(g->factor, covariance, g->n);
    for (int i = 0; i < g->n; i++)
        left -= covariance[i] * covariance[i];
    *mean = g->mean + g->scale * sum;
    *deviation = g->scale * sqrt(g->variance * fmax(left, 0));
}

double expected_improvement(double best, double mean, double deviation)
{
    if (deviation <= 0)
        return fmax(best - mean, 0);
    double z = (best - mean) / deviation;
    double below = 0.5 * erfc(-z * M_SQRT1_2), at = exp(-0.5 * z * z) / sqrt(2 * M_PI);
    return fmax(deviation * (z * below + at), 0);
}
