#include "study/best_rate.h"

#include "study/critical.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

/* Rates that differ by no more are one. */
static const double SAME = 1e-9;

static int by_lr(const void *a, const void *b)
{
    const struct rate_score *x = a, *y = b;
    return (x->lr > y->lr) - (x->lr < y->lr);
}

/* Puts a mean in the place of each rate's scores; returns how many rates there are. */
static int merge_seeds(struct rate_score *x, int n)
{
    int m = 0;
    if (n > 0)
        qsort(x, (size_t)n, sizeof *x, by_lr);
    for (int i = 0, end; i < n; i = end) {
        double sum = 0;
        for (end = i; end < n && x[end].lr <= x[i].lr * (1 + SAME); end++)
            sum += x[end].score;
        x[m++] = (struct rate_score){x[i].lr, sum / (end - i)};
    }
    return m;
}

/* Where between its neighbours the best rate is. */
static void place_within(struct best_rate *b, const struct rate_score *x)
{
    double at[3], score[3], gap;
    for (int i = 0; i < 3; i++) {
        at[i] = log(x[i].lr);
        score[i] = x[i].score;
    }
    gap = (at[2] - at[0]) / 2;
    if (isfinite(score[0]) && isfinite(score[2])) {
        b->lr = exp(critical_least(at, score));
        b->error = gap / sqrt(12); /* it lies evenly within half a gap on either side */
    } else {
        b->error = gap / sqrt(3); /* within a gap on either side */
    }
}

struct best_rate best_rate_of(struct rate_score *x, int n)
{
    int m = merge_seeds(x, n), best = 0;
    struct best_rate b = {.kind = BEST_NONE, .n_rates = m};
    for (int i = 1; i < m; i++)
        if (x[i].score < x[best].score)
            best = i;
    if (m == 0 || !isfinite(x[best].score))
        return b;
    b.lr = x[best].lr;
    b.score = x[best].score;
    b.kind = m < 3           ? BEST_FEW
             : best == 0     ? BEST_LOWEST
             : best == m - 1 ? BEST_HIGHEST
                             : BEST_WITHIN;
    if (b.kind == BEST_WITHIN)
        place_within(&b, x + best - 1);
    return b;
}

const char *best_rate_why(enum best_kind kind)
{
    static const char *const why[] = {
        [BEST_LOWEST] = "the best rate is the lowest tried",
        [BEST_HIGHEST] = "the best rate is the highest tried",
        [BEST_FEW] = "fewer than three rates were tried",
        [BEST_NONE] = "no rate came to its end",
    };
    return why[kind];
}
