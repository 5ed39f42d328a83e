#include "study/tpe.h"

#include "base/err.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_GOOD = 25 };

int tpe_n_good(int n_ended)
{
    int n = (n_ended + 9) / 10;
    return n < MOST_GOOD ? n : MOST_GOOD;
}

struct ranked {
    double step, value;
    int i;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->i - y->i;
}

int tpe_split(bool *good, const struct seen *seen, int n, int n_good)
{
    struct ranked *r;
    TRY(mem_alloc(&r, (size_t)n, sizeof *r, "trials in order"));
    for (int i = 0; i < n; i++) {
        r[i] = (struct ranked){seen[i].step, seen[i].value, i};
        good[i] = false;
    }
    if (n > 0)
        qsort(r, (size_t)n, sizeof *r, by_rank);
    for (int i = 0; i < n_good && i < n; i++)
        good[r[i].i] = true;
    mem_free(r);
    return OK;
}

/* Values of axis i in the trials that are good, or in the others. */
static int gather(double *value, const struct seen *seen, const bool *good, int n, int i,
                  bool which)
{
    int m = 0;
    for (int t = 0; t < n; t++)
        if (good[t] == which && !isnan(seen[t].point[i]))
            value[m++] = seen[t].point[i];
    return m;
}

/* The candidate with the largest l/g among those drawn from l. */
static double best_of(const struct parzen *l, const struct parzen *g, int n, struct dice *d)
{
    double best = NAN, most = -INFINITY;
    for (int k = 0; k < n; k++) {
        double v = parzen_draw(l, d), score = parzen_log(l, v) - parzen_log(g, v);
        if (k == 0 || score > most) {
            best = v;
            most = score;
        }
    }
    return best;
}

static int propose_axis(double *value, const struct space *s, int i, const struct seen *seen,
                        const bool *good, int n, double *scratch, int n_candidates, struct dice *d)
{
    struct parzen l = {0}, g = {0};
    int rc;
    TRY_OUT(parzen_init(&l, &s->axis[i], scratch, gather(scratch, seen, good, n, i, true)));
    TRY_OUT(parzen_init(&g, &s->axis[i], scratch, gather(scratch, seen, good, n, i, false)));
    *value = best_of(&l, &g, n_candidates, d);
out:
    parzen_release(&l);
    parzen_release(&g);
    return rc;
}

int tpe_propose(double *point, const struct space *s, const struct seen *seen, int n,
                int n_candidates, struct dice *d)
{
    bool *good = NULL;
    double *scratch = NULL;
    int n_ended = 0, rc;
    for (int t = 0; t < n; t++)
        n_ended += seen[t].step < INFINITY;
    TRY_OUT(mem_alloc(&good, (size_t)n + 1, sizeof *good, "good trials"));
    TRY_OUT(mem_alloc(&scratch, (size_t)n + 1, sizeof *scratch, "trials' values"));
    TRY_OUT(tpe_split(good, seen, n, tpe_n_good(n_ended)));
    for (int i = 0; i < s->n; i++) {
        point[i] = NAN;
        if (space_applies(s, i, point))
            TRY_OUT(propose_axis(&point[i], s, i, seen, good, n, scratch, n_candidates, d));
    }
out:
    mem_free(good);
    mem_free(scratch);
    return rc;
}
