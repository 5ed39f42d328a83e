/* Where to look next, by a Gaussian process. */
#include "study/gp.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_FAR = 1000, N_NEAR = 100, N_ROUNDS = 6, MOST_SEEN = 300 /* time grows as their cube */ };
#define FIRST_WIDTH 0.2 /* of the points around the best one; each round's is half the last's */
#define CHANGE      0.2 /* of choices around the best one */
#define CHOICE_SIDE M_SQRT1_2 /* two values of a choice are as far apart as two ends */
#define WORST       3.0       /* values count as no worse than this many times median less best */

int gp_width(const struct space *s)
{
    int d = 0;
    for (int i = 0; i < s->n; i++)
        d += s->axis[i].choice ? s->axis[i].n_values : 1;
    return d;
}

void gp_encode(const struct space *s, const double *point, double *x)
{
    for (int i = 0; i < s->n; i++) {
        const struct axis *a = &s->axis[i];
        if (!a->choice)
            *x++ = isnan(point[i]) ? 0.5 : axis_place(a, point[i]);
        for (int v = 0; v < a->n_values; v++)
            *x++ = point[i] == v ? CHOICE_SIDE : 0;
    }
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* What trials count as: finite, and no far-off value that would flatten the others. False when
 * none has a value. */
static bool fill_values(double *y, double *sorted, const struct seen *seen, int n, double *best)
{
    int m = 0;
    for (int t = 0; t < n; t++)
        if (isfinite(seen[t].value))
            sorted[m++] = seen[t].value;
    if (m == 0)
        return false;
    qsort(sorted, (size_t)m, sizeof *sorted, by_value);
    *best = sorted[0];
    double most = fmin(sorted[m - 1], sorted[m / 2] + WORST * (sorted[m / 2] - sorted[0]));
    for (int t = 0; t < n; t++)
        y[t] = seen[t].step == INFINITY ? *best : fmin(seen[t].value, most);
    return true;
}

/* The search for the largest expected improvement. */
struct hunt {
    const struct space *s;
    const struct gp *g;
    struct dice *d;
    double best, most; /* value to improve on; the largest expectation so far */
    double *x;
    double u[SPACE_MAX_AXES], point[SPACE_MAX_AXES]; /* where that is */
};

static void try_place(struct hunt *h, const double *u)
{
    double point[SPACE_MAX_AXES], mean, deviation;
    space_at(h->s, u, point);
    gp_encode(h->s, point, h->x);
    gp_predict(h->g, h->x, &mean, &deviation);
    double gain = expected_improvement(h->best, mean, deviation);
    if (gain <= h->most)
        return;
    h->most = gain;
    memcpy(h->u, u, sizeof h->u);
    memcpy(h->point, point, sizeof h->point);
}

static void look_far(struct hunt *h)
{
    double u[SPACE_MAX_AXES] = {0};
    for (int k = 0; k < N_FAR; k++) {
        for (int i = 0; i < h->s->n; i++)
            u[i] = dice_uniform(h->d);
        try_place(h, u);
    }
}

/* Around the best place so far, nearer with every round. */
static void look_near(struct hunt *h)
{
    double u[SPACE_MAX_AXES] = {0}, width = FIRST_WIDTH;
    for (int round = 0; round < N_ROUNDS; round++, width /= 2)
        for (int k = 0; k < N_NEAR; k++) {
            for (int i = 0; i < h->s->n; i++) {
                double stay = h->u[i] + width * dice_normal(h->d), anew = dice_uniform(h->d);
                if (h->s->axis[i].choice)
                    stay = dice_uniform(h->d) < CHANGE ? anew : h->u[i];
                u[i] = fmin(fmax(stay, 0), 1);
            }
            try_place(h, u);
        }
}

/* The places of the best trial. */
static void start_at(struct hunt *h, const struct seen *seen, int n)
{
    for (int t = 0; t < n; t++)
        for (int i = 0; i < h->s->n && seen[t].value == h->best; i++)
            h->u[i] = isnan(seen[t].point[i]) ? dice_uniform(h->d)
                                              : axis_place(&h->s->axis[i], seen[t].point[i]);
    space_at(h->s, h->u, h->point);
}

/* Leaves out the worst of more than MOST_SEEN trials, but none that runs. kept[n]. E_MEM. */
static int keep_best(struct seen *kept, int *n_kept, const struct seen *seen, int n)
{
    bool *good;
    int running = 0;
    *n_kept = 0;
    for (int t = 0; t < n; t++)
        running += seen[t].step == INFINITY;
    TRY(mem_alloc(&good, (size_t)n + 1, sizeof *good, "good trials"));
    int rc = tpe_split(good, seen, n, running < MOST_SEEN ? MOST_SEEN - running : 0);
    for (int t = 0; t < n && rc == OK; t++)
        if (good[t] || seen[t].step == INFINITY)
            kept[(*n_kept)++] = seen[t];
    mem_free(good);
    return rc;
}

/* A point at random where no trial has a value yet. */
static void anywhere(struct hunt *h)
{
    for (int i = 0; i < h->s->n; i++)
        h->u[i] = dice_uniform(h->d);
    space_at(h->s, h->u, h->point);
}

/* Fits the process to n trials, x[n][width] and y[2n] scratch, and hunts. */
static int fit_and_hunt(struct hunt *h, struct gp *g, double *x, double *y, const struct seen *seen,
                        int n)
{
    int width = gp_width(h->s);
    if (!fill_values(y, y + n, seen, n, &h->best)) {
        anywhere(h);
        return OK;
    }
    for (int t = 0; t < n; t++)
        gp_encode(h->s, seen[t].point, x + t * width);
    TRY(gp_fit(g, x, y, n, width));
    start_at(h, seen, n);
    look_near(h);
    look_far(h);
    look_near(h);
    return OK;
}

int gp_propose(double *point, const struct space *s, const struct seen *seen, int n, struct dice *d)
{
    int width = gp_width(s), n_kept, rc;
    struct gp g = {0};
    struct hunt h = {.s = s, .g = &g, .d = d, .most = -INFINITY};
    struct seen *kept = NULL;
    double *x = NULL, *y = NULL;
    TRY_OUT(mem_alloc(&kept, (size_t)n + 1, sizeof *kept, "trials seen"));
    TRY_OUT(keep_best(kept, &n_kept, seen, n));
    TRY_OUT(mem_alloc(&x, (size_t)(n_kept + 1) * (size_t)width, sizeof *x, "trials' coordinates"));
    TRY_OUT(mem_alloc(&y, 2 * (size_t)n_kept + 1, sizeof *y, "trials' values"));
    h.x = x + n_kept * width;
    TRY_OUT(fit_and_hunt(&h, &g, x, y, kept, n_kept));
    memcpy(point, h.point, (size_t)s->n * sizeof *point);
out:
    gp_release(&g);
    mem_free(kept);
    mem_free(x);
    mem_free(y);
    return rc;
}
