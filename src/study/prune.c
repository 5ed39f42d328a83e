/* Which trials are given up at a milestone. */
#include "base/err.h"
#include "base/mem.h"
#include "study/search.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEDIAN_LEAST = 5 /* trials to their end before the median counts */, WHY_BYTES = 256 };
#define SAME_PLACE 1e-9 /* a validation at a milestone is no less than this share below it */

bool trial_ended(const struct trial *t)
{
    return t->state >= TRIAL_DONE;
}

bool trial_settled(const struct trial *t, int k)
{
    return trial_ended(t) || t->n_reached > k;
}

/* The validation that belongs to milestone k: the first one not before it; -1: none. */
static int point_at(const struct trial *t, int k)
{
    if (t->n_reached <= k || k >= t->plan.n_milestones)
        return -1;
    for (int j = 0; j < t->n_curve; j++)
        if (t->curve[j].tokens >= t->plan.milestones[k] * (1 - SAME_PLACE))
            return j;
    return -1;
}

double trial_value_at(const struct trial *t, int k)
{
    int j = point_at(t, k);
    return j < 0 || !isfinite(t->curve[j].loss) ? INFINITY : t->curve[j].loss;
}

static double best_until(const struct trial *t, int k)
{
    double best = INFINITY;
    for (int j = point_at(t, k); j >= 0; j--)
        if (t->curve[j].loss < best)
            best = t->curve[j].loss;
    return best;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median_of(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return 0.5 * (v[(n - 1) / 2] + v[n / 2]);
}

/* Source: Golovin et al. 2017, section 3.2.2, in Optuna's form. */
int judge_median(const struct search *q, const struct history *h, int i, int k, enum answer *answer,
                 char *why)
{
    double *v, best = best_until(&h->trial[i], k);
    int n = 0, older = i - (int)q->conf.study.ahead + 1;
    *answer = ANSWER_WAIT;
    for (int t = 0; t < older; t++)
        if (!trial_ended(&h->trial[t]))
            return OK;
    TRY(mem_alloc(&v, (size_t)h->n, sizeof *v, "trials' values"));
    for (int t = 0; t < older; t++)
        if (h->trial[t].state == TRIAL_DONE && point_at(&h->trial[t], k) >= 0)
            v[n++] = trial_value_at(&h->trial[t], k);
    double median = n >= MEDIAN_LEAST ? median_of(v, n) : INFINITY;
    mem_free(v);
    *answer = best > median ? ANSWER_STOP : ANSWER_GO;
    if (*answer == ANSWER_STOP)
        snprintf(why, WHY_BYTES,
                 "its best loss by milestone %d, %.4g, is above the median there, %.4g", k + 1,
                 best, median);
    return OK;
}

/* Source: Li et al. 2020, section 3, as a trial that stops; Optuna's form. */
int judge_asha(const struct search *q, const struct history *h, int i, int k, enum answer *answer,
               char *why)
{
    double *v, own = trial_value_at(&h->trial[i], k);
    int n = 0, older = i - (int)q->conf.study.ahead + 1, eta = (int)q->conf.search.eta;
    *answer = ANSWER_WAIT;
    for (int t = 0; t < older; t++)
        if (!trial_settled(&h->trial[t], k))
            return OK;
    TRY(mem_alloc(&v, (size_t)h->n + 1, sizeof *v, "trials' values"));
    for (int t = 0; t < older; t++)
        if (point_at(&h->trial[t], k) >= 0)
            v[n++] = trial_value_at(&h->trial[t], k);
    v[n++] = own;
    qsort(v, (size_t)n, sizeof *v, by_value);
    double most = v[n / eta > 1 ? n / eta - 1 : 0];
    mem_free(v);
    *answer = own <= most && own < INFINITY ? ANSWER_GO : ANSWER_STOP;
    if (*answer == ANSWER_STOP)
        snprintf(why, WHY_BYTES,
                 "at milestone %d its loss of %.4g is not among the best 1/%d of %d trials (%.4g)",
                 k + 1, own, eta, n, most);
    return OK;
}

int halving_left(const struct search *q, int n, int k)
{
    for (int j = 0; j <= k; j++)
        n = n / (int)q->conf.search.eta > 1 ? n / (int)q->conf.search.eta : 1;
    return n;
}

/* Source: Jamieson and Talwalkar 2016, algorithm 1. */
int judge_halving(const struct search *q, const struct history *h, int i, int k,
                  enum answer *answer, char *why)
{
    int first = i / q->bracket * q->bracket, end = first + q->bracket, place = 0;
    end = end < q->n ? end : q->n;
    double own = trial_value_at(&h->trial[i], k);
    *answer = ANSWER_WAIT;
    for (int t = first; t < end; t++)
        if (t >= h->n || !trial_settled(&h->trial[t], k))
            return OK;
    for (int t = first; t < end; t++) {
        double v = trial_value_at(&h->trial[t], k);
        place += v < own || (v == own && t < i);
    }
    int left = halving_left(q, end - first, k);
    *answer = place < left && own < INFINITY ? ANSWER_GO : ANSWER_STOP;
    if (*answer == ANSWER_STOP)
        snprintf(why, WHY_BYTES,
                 "at milestone %d its loss of %.4g is in place %d; the best %d go on", k + 1, own,
                 place + 1, left);
    return OK;
}
