/* What came of a trial, from its run folder. */
#include "study/trial_parts.h"

#include "base/err.h"
#include "base/mem.h"
#include "train/events.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LAST_PART 0.1 /* of the steps: over them the noise scale is taken */

/* A run's rows of metrics. */
struct run_rows {
    double (*v)[M_N];
    int64_t n;
};

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int median_step(double *step_s, const struct run_rows *r)
{
    double *s;
    *step_s = NAN;
    if (r->n == 0)
        return OK;
    TRY(mem_alloc(&s, (size_t)r->n, sizeof *s, "step times"));
    for (int64_t i = 0; i < r->n; i++)
        s[i] = r->v[i][M_STEP_S];
    qsort(s, (size_t)r->n, sizeof *s, by_value);
    *step_s = r->n % 2 ? s[r->n / 2] : (s[r->n / 2 - 1] + s[r->n / 2]) / 2;
    mem_free(s);
    return OK;
}

/* tr Σ over |G|², each averaged over the last part of the run: their ratio's average would be
 * biased. */
static double late_noise_scale(const struct run_rows *r)
{
    double trace = 0, signal = 0;
    for (int64_t i = r->n - (int64_t)ceil((double)r->n * LAST_PART); i < r->n; i++)
        if (isfinite(r->v[i][M_NOISE_TRACE]) && isfinite(r->v[i][M_NOISE_SIGNAL])) {
            trace += r->v[i][M_NOISE_TRACE];
            signal += r->v[i][M_NOISE_SIGNAL];
        }
    return trace > 0 && signal > 0 ? trace / signal : NAN;
}

/* Steps at which the loss jumped; one that was trained twice counts once. */
static int count_spikes(double *spikes, const char *run_dir, double last_step)
{
    struct event *e;
    size_t n;
    *spikes = 0;
    TRY(events_read(run_dir, &e, &n, NULL));
    for (size_t i = 0; i < n; i++) {
        bool counts = strcmp(e[i].kind, "spike") == 0 && (double)e[i].step <= last_step;
        for (size_t j = 0; j < i && counts; j++)
            counts = e[j].step != e[i].step || strcmp(e[j].kind, "spike") != 0;
        *spikes += counts;
    }
    mem_free(e);
    return OK;
}

/* Tokens at a row follow from those at the end, since a run may have begun at another's
 * checkpoint. */
static int take_curve(struct trial *t, const struct run_rows *r, const struct trial_place *at,
                      double seq_len)
{
    double tokens = at->tokens, train_s = t->train_s;
    int n = 0;
    for (int64_t i = 0; i < r->n; i++)
        n += !isnan(r->v[i][M_VALID_LOSS]);
    t->n_curve = n;
    TRY(mem_alloc(&t->curve, (size_t)n, sizeof *t->curve, "a trial's curve"));
    for (int64_t i = r->n - 1; i >= 0; i--) {
        const double *v = r->v[i];
        if (!isnan(v[M_VALID_LOSS]))
            t->curve[--n] = (struct curve_point){v[M_STEP], tokens, v[M_VALID_LOSS], train_s};
        tokens -= v[M_BATCH] * seq_len;
        train_s -= v[M_STEP_S];
    }
    return OK;
}

static int take_rows(struct trial *t, const struct run_rows *r, const struct trial_place *at,
                     double seq_len)
{
    t->train_s = 0;
    for (int64_t i = 0; i < r->n; i++)
        t->train_s += r->v[i][M_STEP_S];
    t->noise_scale = late_noise_scale(r);
    TRY(median_step(&t->step_s, r));
    TRY(take_curve(t, r, at, seq_len));
    t->value = t->n_curve > 0 ? t->curve[t->n_curve - 1].loss : NAN;
    return OK;
}

int trial_measure(struct trial *t, const char *run_dir, const struct trial_place *at,
                  double seq_len)
{
    struct run_rows r;
    double *v;
    int64_t bad;
    TRY(metrics_read(run_dir, &v, &r.n, &bad));
    r.v = (double(*)[M_N])v;
    while (r.n > 0 && r.v[r.n - 1][M_STEP] > at->step)
        r.n--;
    t->steps = at->step;
    t->tokens = at->tokens;
    int rc = take_rows(t, &r, at, seq_len);
    mem_free(v);
    TRY(rc);
    return count_spikes(&t->spikes, run_dir, at->step);
}
