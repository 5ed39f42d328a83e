#include "study/importance.h"

#include "base/err.h"
#include "base/mem.h"
#include "study/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_TREES = 64, SEED = 20140621 };

/* A part of the unit cube in which a tree has one value. */
struct box {
    double low[SPACE_MAX_AXES], high[SPACE_MAX_AXES], value;
    int first, n; /* its trials, in forest.in */
};

struct forest {
    int n, d;
    double *x, *y;   /* [n][d], [n] */
    int *in;         /* [n]: which trials a tree has, box by box */
    struct box *box; /* [n] */
    int n_boxes;
    struct {
        double x, y;
        int i;
    } * sorted;  /* [n] */
    double *cut; /* [n + 1] */
};

static double volume_but(const struct forest *f, const struct box *b, int axis)
{
    double v = 1;
    for (int k = 0; k < f->d; k++)
        if (k != axis)
            v *= b->high[k] - b->low[k];
    return v;
}

static int by_x(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* The cut of a box across an axis that leaves the least squares; by how much it lowers them. */
static double best_cut(struct forest *f, const struct box *b, int axis, double *at)
{
    double left = 0, all = 0, most = 0;
    for (int j = 0; j < b->n; j++) {
        int i = f->in[b->first + j];
        f->sorted[j].x = f->x[i * f->d + axis];
        f->sorted[j].y = f->y[i];
        f->sorted[j].i = i;
        all += f->y[i];
    }
    qsort(f->sorted, (size_t)b->n, sizeof *f->sorted, by_x);
    for (int j = 1; j < b->n; j++) {
        left += f->sorted[j - 1].y;
        double below = f->sorted[j - 1].x, above = f->sorted[j].x;
        double right = all - left;
        double gain = left * left / j + right * right / (b->n - j) - all * all / b->n;
        if (below < above && gain > most) {
            most = gain;
            *at = 0.5 * (below + above);
        }
    }
    return most;
}

/* Parts the trials of box b at the cut; those above go to the new box. */
static void part(struct forest *f, struct box *b, int axis, double at)
{
    struct box *up = &f->box[f->n_boxes++];
    int low = b->first, high = b->first + b->n;
    while (low < high) {
        int i = f->in[low];
        if (f->x[i * f->d + axis] <= at) {
            low++;
        } else {
            f->in[low] = f->in[--high];
            f->in[high] = i;
        }
    }
    *up = *b;
    up->first = low;
    up->n = b->first + b->n - low;
    b->n -= up->n;
    b->high[axis] = up->low[axis] = at;
}

/* Cuts box k, and what comes of it, until trials are alike or alone. */
static void grow_box(struct forest *f, int k)
{
    for (;;) {
        double most = 0, at = 0, here = 0;
        int axis = -1;
        for (int a = 0; a < f->d; a++) {
            double gain = best_cut(f, &f->box[k], a, &here);
            if (gain > most) {
                most = gain;
                axis = a;
                at = here;
            }
        }
        if (axis < 0)
            break;
        part(f, &f->box[k], axis, at);
    }
    struct box *b = &f->box[k];
    b->value = 0;
    for (int j = 0; j < b->n; j++)
        b->value += f->y[f->in[b->first + j]] / b->n;
}

/* A tree from trials that are drawn with replacement. */
static void grow(struct forest *f, struct dice *d)
{
    for (int j = 0; j < f->n; j++)
        f->in[j] = (int)(dice_uniform(d) * f->n);
    f->n_boxes = 1;
    f->box[0] = (struct box){.first = 0, .n = f->n};
    for (int k = 0; k < f->d; k++)
        f->box[0].high[k] = 1;
    for (int k = 0; k < f->n_boxes; k++)
        grow_box(f, k);
}

/* Variance over the cube of the tree's mean over all axes but one. */
static double main_effect(struct forest *f, int axis, double mean)
{
    double variance = 0;
    for (int k = 0; k < f->n_boxes; k++)
        f->cut[k] = f->box[k].low[axis];
    f->cut[f->n_boxes] = 1;
    qsort(f->cut, (size_t)f->n_boxes, sizeof *f->cut, by_x);
    for (int j = 0; j < f->n_boxes; j++) {
        double width = f->cut[j + 1] - f->cut[j], at = 0;
        if (width <= 0)
            continue;
        for (int k = 0; k < f->n_boxes; k++)
            if (f->box[k].low[axis] <= f->cut[j] && f->box[k].high[axis] > f->cut[j])
                at += f->box[k].value * volume_but(f, &f->box[k], axis);
        variance += width * (at - mean) * (at - mean);
    }
    return variance;
}

/* Adds the tree's shares; false when it has one value alone. */
static bool add_shares(struct forest *f, double *share)
{
    double mean = 0, variance = 0;
    for (int k = 0; k < f->n_boxes; k++)
        mean += f->box[k].value * volume_but(f, &f->box[k], -1);
    for (int k = 0; k < f->n_boxes; k++) {
        double off = f->box[k].value - mean;
        variance += off * off * volume_but(f, &f->box[k], -1);
    }
    for (int a = 0; a < f->d && variance > 0; a++)
        share[a] += main_effect(f, a, mean) / variance;
    return variance > 0;
}

/* The loss that a trial is compared by; INFINITY: it has none there. */
static double loss_at(const struct trial *t, int k)
{
    if (k == AT_END)
        return t->state == TRIAL_DONE && isfinite(t->value) ? t->value : INFINITY;
    /* A trial that goes on from another's checkpoint counts milestones from there. */
    return k >= 0 && t->plan.parent < 0 ? trial_value_at(t, k) : INFINITY;
}

static bool enough_at(const struct history *h, int k)
{
    int n = 0;
    for (int t = 0; t < h->n; t++)
        n += loss_at(&h->trial[t], k) < INFINITY;
    return n >= IMPORTANCE_LEAST;
}

int importance_milestone(const struct history *h)
{
    int k = -1;
    if (enough_at(h, AT_END))
        return AT_END;
    for (int t = 0; t < h->n; t++)
        k = h->trial[t].n_reached - 1 > k ? h->trial[t].n_reached - 1 : k;
    while (k >= 0 && !enough_at(h, k))
        k--;
    return k >= 0 ? k : AT_NOTHING;
}

/* Places and losses of the trials that got there. */
static void gather(struct forest *f, const struct space *s, const struct history *h)
{
    double point[SPACE_MAX_AXES];
    int at = importance_milestone(h);
    for (int t = 0; t < h->n; t++) {
        double loss = loss_at(&h->trial[t], at);
        if (loss == INFINITY || !space_read(s, &h->trial[t].plan, point))
            continue;
        for (int k = 0; k < f->d; k++)
            f->x[f->n * f->d + k] = isnan(point[k]) ? 0.5 : axis_place(&s->axis[k], point[k]);
        f->y[f->n++] = loss;
    }
}

static int forest_init(struct forest *f, int most, int d)
{
    size_t n = (size_t)most + 1;
    *f = (struct forest){.d = d};
    TRY(mem_alloc(&f->x, n * (size_t)d, sizeof *f->x, "a forest's trials"));
    TRY(mem_alloc(&f->y, n, sizeof *f->y, "a forest's losses"));
    TRY(mem_alloc(&f->in, n, sizeof *f->in, "a tree's trials"));
    TRY(mem_alloc(&f->box, n, sizeof *f->box, "a tree's boxes"));
    TRY(mem_alloc(&f->sorted, n, sizeof *f->sorted, "a box's trials"));
    return mem_alloc(&f->cut, n, sizeof *f->cut, "a tree's cuts");
}

static void forest_release(struct forest *f)
{
    mem_free(f->x);
    mem_free(f->y);
    mem_free(f->in);
    mem_free(f->box);
    mem_free(f->sorted);
    mem_free(f->cut);
}

int importance(const struct space *s, const struct history *h, double *share, int *n_used)
{
    struct forest f;
    struct dice d = {.seed = SEED};
    int n_trees = 0, rc = forest_init(&f, h->n, s->n);
    for (int k = 0; k < s->n; k++)
        share[k] = 0;
    if (rc == OK)
        gather(&f, s, h);
    for (int k = 0; k < N_TREES && f.n >= IMPORTANCE_LEAST && rc == OK; k++) {
        grow(&f, &d);
        n_trees += add_shares(&f, share);
    }
    for (int k = 0; k < s->n; k++)
        share[k] = n_trees > 0 ? share[k] / n_trees : NAN;
    *n_used = f.n;
    forest_release(&f);
    return rc;
}
