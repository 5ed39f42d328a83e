/* Points that follow from a trial's number alone: of a grid, at random, spread evenly. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "study/search.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MOST_POINTS = 1000000, PURPOSE_SHIFT = 40, MOST_BASE = 512, AXIS_SHIFT = 8 };

struct dice search_dice(const struct search *q, enum purpose p, int number)
{
    return (struct dice){.seed = (uint64_t)q->conf.search.seed,
                         .stream = ((uint64_t)p << PURPOSE_SHIFT) + (uint64_t)number};
}

int choose_random(const struct search *q, int number, const struct seen *seen, int n, double *point)
{
    (void)seen, (void)n;
    double u[SPACE_MAX_AXES];
    struct dice d = search_dice(q, FOR_POINT, number);
    for (int i = 0; i < q->space.n; i++)
        u[i] = dice_uniform(&d);
    space_at(&q->space, u, point);
    return OK;
}

static int next_prime(int p)
{
    for (p++;; p++) {
        int d = 2;
        while (d * d <= p && p % d != 0)
            d++;
        if (d * d > p)
            return p;
    }
}

/* Where digit `digit` of the base goes at one place of one axis. */
static int permuted(const struct search *q, int axis, int place, int base, int digit)
{
    int at[MOST_BASE] = {0};
    struct dice d = search_dice(q, FOR_HALTON, (axis << AXIS_SHIFT) + place);
    for (int i = 0; i < base; i++) {
        int j = (int)(dice_uniform(&d) * (i + 1));
        at[i] = at[j];
        at[j] = i;
    }
    return at[digit];
}

/* The number's digits in the base, permuted, behind the point; those before its first one are
 * permuted zeros. */
static double radical_inverse(const struct search *q, int axis, int base, int number)
{
    double u = 0, unit = 1.0 / base;
    int n_places = (int)(DBL_MANT_DIG / log2(base)) + 1;
    for (int place = 0; place < n_places; place++) {
        u += unit * permuted(q, axis, place, base, number % base);
        unit /= base;
        number /= base;
    }
    return fmin(u, 1 - 1e-16);
}

int choose_halton(const struct search *q, int number, const struct seen *seen, int n, double *point)
{
    (void)seen, (void)n;
    double u[SPACE_MAX_AXES];
    for (int i = 0, base = 2; i < q->space.n; i++, base = next_prime(base))
        u[i] = radical_inverse(q, i, base, number);
    space_at(&q->space, u, point);
    return OK;
}

/* Points that a grid has on an axis. */
static int n_points(const struct search *q, const struct axis *a)
{
    int64_t n = q->conf.search.points;
    if (a->choice)
        return a->n_values;
    return a->whole && a->high - a->low + 1 < (double)n ? (int)(a->high - a->low + 1) : (int)n;
}

/* Point j of them, the ends among them; one alone lies in the middle. */
static double grid_value(const struct search *q, const struct axis *a, int j)
{
    int n = n_points(q, a);
    if (a->choice)
        return j;
    double low = axis_scale(a, a->low), high = axis_scale(a, a->high);
    double share = n > 1 ? (double)j / (n - 1) : 0.5;
    /* The ends are taken as they were written. */
    if (n > 1 && (j == 0 || j == n - 1))
        return j == 0 ? a->low : a->high;
    return axis_unscale(a, low + share * (high - low));
}

/* The next point in the order of a counter whose last axis turns fastest; axes that do not apply
 * have one position. Points that rounding makes equal come once. False after the last. */
static bool next_point(const struct search *q, int *at, double *point)
{
    int i = q->space.n - 1;
    for (; i >= 0; i--) {
        const struct axis *a = &q->space.axis[i];
        if (isnan(point[i]))
            continue;
        double was = point[i];
        while (++at[i] < n_points(q, a) && grid_value(q, a, at[i]) == was)
            ;
        if (at[i] < n_points(q, a))
            break;
    }
    if (i < 0)
        return false;
    point[i] = grid_value(q, &q->space.axis[i], at[i]);
    for (int j = i + 1; j < q->space.n; j++) {
        at[j] = 0;
        point[j] = space_applies(&q->space, j, point) ? grid_value(q, &q->space.axis[j], 0) : NAN;
    }
    return true;
}

static void first_point(const struct search *q, int *at, double *point)
{
    for (int i = 0; i < q->space.n; i++) {
        at[i] = 0;
        point[i] = space_applies(&q->space, i, point) ? grid_value(q, &q->space.axis[i], 0) : NAN;
    }
}

int grid_open(struct search *q)
{
    int at[SPACE_MAX_AXES] = {0}, n = 1;
    double point[SPACE_MAX_AXES] = {0};
    size_t width = (size_t)q->space.n;
    first_point(q, at, point);
    while (n <= MOST_POINTS && next_point(q, at, point))
        n++;
    if (n > MOST_POINTS)
        return ERR(E_CONFIG,
                   "search.space: its grid has more than %d points; lower search.points (%" PRId64
                   "), take rows out, or set search.rule=random",
                   MOST_POINTS, q->conf.search.points);
    TRY(mem_alloc(&q->grid, (size_t)n * width, sizeof *q->grid, "a grid"));
    first_point(q, at, point);
    for (int i = 0; i < n; i++) {
        memcpy(q->grid + (size_t)i * width, point, width * sizeof *point);
        next_point(q, at, point);
    }
    q->n = q->n_all = n;
    return OK;
}

int choose_grid(const struct search *q, int number, const struct seen *seen, int n, double *point)
{
    (void)seen, (void)n;
    size_t width = (size_t)q->space.n;
    memcpy(point, q->grid + (size_t)number * width, width * sizeof *point);
    return OK;
}
