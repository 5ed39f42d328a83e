#include "train/pace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void pace_step(struct pace *p, double unit_s)
{
    /* The first is left behind: its place is taken by the second. */
    p->unit_s[(p->n > 0 ? p->n - 1 : 0) % PACE_STEPS] = unit_s;
    p->n++;
}

void pace_valid(struct pace *p, double s)
{
    p->valid_s = s;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Times that something comes which is due every so many steps and at the end. */
static double times_left(const struct pace_plan *plan, int64_t every)
{
    if (plan->step >= plan->n_steps)
        return 0;
    if (every <= 0)
        return 1;
    int64_t n = plan->n_steps / every - plan->step / every;
    return (double)(n + (plan->n_steps % every != 0));
}

double pace_left_s(const struct pace *p, const struct pace_plan *plan)
{
    double sorted[PACE_STEPS];
    size_t n = (size_t)(p->n - 1 < PACE_STEPS ? p->n - 1 : PACE_STEPS);
    if (p->n < 2)
        return NAN;
    memcpy(sorted, p->unit_s, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    return sorted[n / 2] * plan->left + p->valid_s * times_left(plan, plan->valid_every) +
           p->save_s * times_left(plan, plan->save_every);
}
