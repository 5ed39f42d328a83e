#include "report/series.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void extent_add(struct extent *e, const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v[i]))
            continue;
        bool first = !extent_any(e);
        e->lo = first || v[i] < e->lo ? v[i] : e->lo;
        e->hi = first || v[i] > e->hi ? v[i] : e->hi;
    }
}

bool extent_any(const struct extent *e)
{
    return e->lo <= e->hi;
}

/* A mean that forgets: what it has summed, and the weight of it. */
struct fading {
    double sum, weight;
};

static void fade(struct fading *f, double v, double keep)
{
    if (isfinite(v))
        *f = (struct fading){keep * f->sum + (1 - keep) * v, keep * f->weight + (1 - keep)};
}

void series_smooth(double *v, int64_t n, double steps)
{
    double keep = steps > 2 ? 1 - 2 / steps : 0;
    struct fading *after, before = {0, 0}; /* after[i]: of v[i] and what follows */
    if (n <= 0 || keep <= 0)
        return;
    if (mem_alloc(&after, (size_t)n + 1, sizeof *after, "smoothing") != OK) {
        err_clear();
        return;
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        after[i] = after[i + 1];
        fade(&after[i], v[i], keep);
    }
    for (int64_t i = 0; i < n; i++) {
        bool good = isfinite(v[i]);
        fade(&before, v[i], keep);
        double own = (1 - keep); /* v[i] is in both */
        v[i] = good ? (before.sum + after[i].sum - own * v[i]) /
                          (before.weight + after[i].weight - own)
                    : NAN;
    }
    mem_free(after);
}

/* ---- thinning ---- */

/* What a bucket has: its points of least and greatest y. */
struct bucket {
    double x[2], y[2], z[2];
    int64_t at[2]; /* -1: none */
};

static void bucket_take(struct bucket *b, int64_t i, double x, double y, double z)
{
    for (int k = 0; k < 2; k++)
        if (b->at[k] < 0 || (k == 0 ? y < b->y[0] : y > b->y[1])) {
            b->at[k] = i;
            b->x[k] = x;
            b->y[k] = y;
            b->z[k] = z;
        }
}

static int64_t put_point(double *x, double *y, double *z, int64_t n, double px, double py,
                         double pz)
{
    x[n] = px;
    y[n] = py;
    if (z != NULL)
        z[n] = pz;
    return n + 1;
}

/* Writes the bucket behind the n points that there are: never beyond what has been read. */
static int64_t bucket_put(const struct bucket *b, double *x, double *y, double *z, int64_t n)
{
    int first = b->at[1] < b->at[0];
    if (b->at[0] < 0)
        return n > 0 && !isnan(y[n - 1]) ? put_point(x, y, z, n, x[n - 1], NAN, NAN) : n;
    n = put_point(x, y, z, n, b->x[first], b->y[first], b->z[first]);
    if (b->at[0] != b->at[1])
        n = put_point(x, y, z, n, b->x[!first], b->y[!first], b->z[!first]);
    return n;
}

static void clean(double *y, double *z, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(y[i]) || (z != NULL && !isfinite(z[i]))) {
            y[i] = NAN;
            if (z != NULL)
                z[i] = NAN;
        }
}

int64_t series_join(double *x, double *y, double *z, int64_t n)
{
    int64_t good = 0, pairs = 0, kept = 0;
    for (int64_t i = 0; i < n; i++) {
        good += isfinite(y[i]);
        pairs += i > 0 && isfinite(y[i]) && isfinite(y[i - 1]);
    }
    if (2 * pairs >= good)
        return n;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(y[i]))
            kept = put_point(x, y, z, kept, x[i], y[i], z != NULL ? z[i] : NAN);
    return kept;
}

int64_t series_thin(double *x, double *y, double *z, int64_t n, int buckets)
{
    clean(y, z, n);
    if (n <= 2 * (int64_t)buckets + 2)
        return n;
    /* The ends stay: an axis is as long as the run. */
    double end_x = x[n - 1], end_y = y[n - 1], end_z = z != NULL ? z[n - 1] : NAN;
    double first = x[0], width = (end_x - first) / buckets;
    int64_t kept = 1, i = 1;
    for (int k = 0; k < buckets && i < n - 1; k++) {
        struct bucket b = {.at = {-1, -1}};
        int64_t begin = i;
        for (; i < n - 1 && (k + 1 == buckets || x[i] < first + (k + 1) * width); i++)
            if (!isnan(y[i]))
                bucket_take(&b, i, x[i], y[i], z != NULL ? z[i] : NAN);
        if (i > begin)
            kept = bucket_put(&b, x, y, z, kept);
    }
    return put_point(x, y, z, kept, end_x, end_y, end_z);
}

/* ---- figures of a series ---- */

static int ascending(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

double series_median(const double *v, int64_t n)
{
    double *good, median = NAN;
    size_t k = 0;
    if (n <= 0)
        return NAN;
    if (mem_alloc(&good, (size_t)n, sizeof *good, "values of a median") != OK) {
        err_clear();
        return NAN;
    }
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i]))
            good[k++] = v[i];
    if (k > 0) {
        qsort(good, k, sizeof *good, ascending);
        median = (good[(k - 1) / 2] + good[k / 2]) / 2;
    }
    mem_free(good);
    return median;
}

double series_last(const double *v, int64_t n)
{
    while (n > 0 && !isfinite(v[n - 1]))
        n--;
    return n > 0 ? v[n - 1] : NAN;
}

/* ---- axes ---- */

static int linear_ticks(double *at, struct extent e)
{
    static const double steps[] = {1, 2, 5, 10};
    enum { WANTED = 7 };
    double span = e.hi - e.lo, power = pow(10, floor(log10(span / WANTED)));
    double step = 10 * power;
    int n = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (span / (steps[i] * power) <= WANTED) {
            step = steps[i] * power;
            break;
        }
    for (double k = ceil(e.lo / step - 1e-9); k * step <= e.hi + 1e-9 * span; k++)
        if (n < SERIES_MAX_TICKS)
            at[n++] = k * step;
    return n;
}

/* Marks at the digits, ended by 0, in every nth decade; one more than there is room for: too many.
 */
static int decade_ticks(double *at, struct extent e, const double *digits, int every)
{
    int n = 0;
    int first = (int)floor(log10(e.lo)), last = (int)floor(log10(e.hi));
    for (int k = first; k <= last; k += every)
        for (const double *d = digits; *d > 0; d++) {
            double v = *d * pow(10, k);
            if (v < e.lo * (1 - 1e-9) || v > e.hi * (1 + 1e-9))
                continue;
            if (n == SERIES_MAX_TICKS)
                return n + 1;
            at[n++] = v;
        }
    return n;
}

/* The most marks that are not too many; what spans little is marked as if linear. */
static int log_ticks(double *at, struct extent e)
{
    static const double sets[][11] = {{1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 0},
                                      {1, 1.5, 2, 3, 4, 6, 0},
                                      {1, 2, 3, 5, 0},
                                      {1, 2, 5, 0},
                                      {1, 3, 0},
                                      {1, 0}};
    enum { MOST = 8, N_SETS = sizeof sets / sizeof *sets };
    int n = 0;
    if (e.hi / e.lo < 3)
        return linear_ticks(at, e);
    for (size_t i = 0; i < N_SETS; i++) {
        n = decade_ticks(at, e, sets[i], 1);
        if (n <= MOST)
            return n;
    }
    for (int every = 2; n > MOST; every++)
        n = decade_ticks(at, e, sets[N_SETS - 1], every);
    return n;
}

int series_ticks(double at[SERIES_MAX_TICKS], struct extent e, bool logarithmic)
{
    if (!(e.hi > e.lo) || (logarithmic && !(e.lo > 0)))
        return 0;
    return logarithmic ? log_ticks(at, e) : linear_ticks(at, e);
}
