#include "study/rate_grid.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

int rate_grid_low(const struct rate_grid *g)
{
    return -(g->n - 1) / 2;
}

int rate_grid_high(const struct rate_grid *g)
{
    return g->n / 2;
}

double rate_grid_rate(const struct rate_grid *g, int index)
{
    char text[32];
    snprintf(text, sizeof text, "%.3e", g->centre * pow(g->step, index));
    return strtod(text, NULL);
}

int rate_grid_index(const struct rate_grid *g, double lr)
{
    return (int)lround(log(lr / g->centre) / log(g->step));
}

/* Steps to the target first; then the loss; what diverged is worst. */
static bool better(const struct grid_point *a, const struct grid_point *b)
{
    if (isfinite(a->score) || isfinite(b->score))
        return a->score < b->score;
    return isfinite(a->loss) && !(b->loss <= a->loss);
}

int rate_grid_best(const struct grid_point *p, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (better(&p[i], &p[best]))
            best = i;
    return best;
}

static bool is_there(const struct grid_point *p, int n, int index)
{
    for (int i = 0; i < n; i++)
        if (p[i].index == index)
            return true;
    return false;
}

int rate_grid_side(const struct rate_grid *g, const struct grid_point *p, int n)
{
    const struct grid_point *best = &p[rate_grid_best(p, n)];
    bool diverged = !isfinite(best->score) && !isfinite(best->loss);
    for (int side = -1; side <= (diverged ? -1 : 1); side += 2) {
        int index = best->index;
        while (diverged && is_there(p, n, index))
            index--;
        index += diverged ? 0 : side;
        bool room = index >= rate_grid_low(g) - g->extend && index <= rate_grid_high(g) + g->extend;
        if (room && !is_there(p, n, index))
            return side;
    }
    return 0;
}
