#include "study/efficiency.h"

#include <math.h>

void way_fill(struct way *w, double one_rank_s, double examples_least, double seq_len)
{
    w->time_s = w->steps * w->step_s;
    w->core_h = w->ranks * w->time_s / 3600;
    w->statistical = examples_least / (w->steps * w->batch);
    w->system = one_rank_s / (w->ranks * w->step_s);
    w->tokens_per_s = w->batch * seq_len / w->step_s;
    w->goodput = w->tokens_per_s * w->statistical;
}

static bool measured(const struct way *w)
{
    return isfinite(w->time_s);
}

/* At least as good in both, and better in one. */
static bool beats(const struct way *a, const struct way *b)
{
    return a->time_s <= b->time_s && a->core_h <= b->core_h &&
           (a->time_s < b->time_s || a->core_h < b->core_h);
}

void way_front(struct way *w, int n)
{
    for (int i = 0; i < n; i++) {
        w[i].front = measured(&w[i]);
        for (int j = 0; j < n; j++)
            w[i].front = w[i].front && !(measured(&w[j]) && beats(&w[j], &w[i]));
    }
}

int way_choose(const struct way *w, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (w[i].front && (best < 0 || w[i].time_s * w[i].core_h < w[best].time_s * w[best].core_h))
            best = i;
    return best;
}
