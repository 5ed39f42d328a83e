/* Population-based training: at each milestone the worst quarter gives up, and successors go on
 * from checkpoints of the best quarter with other settings.
 * Source: Jaderberg et al. 2017, section 4 and algorithm 1 (truncation selection). */
#include "base/err.h"
#include "base/mem.h"
#include "study/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUARTER = 4, WHY_BYTES = 256 };
#define UP   1.2
#define DOWN 0.8
#define ANEW 0.25 /* of choices: drawn anew */

static int n_replaced(const struct search *q)
{
    return q->n / QUARTER > 1 ? q->n / QUARTER : 1;
}

/* The milestone of the search, from 0, that is a trial's first. */
static int born(const struct search *q, int i)
{
    return i < q->n ? 0 : (i - q->n) / n_replaced(q) + 1;
}

static int pbt_open(struct search *q)
{
    if (q->n < 2)
        return ERR(E_CONFIG, "search.rule pbt needs a population; set search.trials to 2 or more");
    if (q->n_milestones < 1)
        return ERR(E_CONFIG, "search.rule pbt copies trials at milestones; set search.milestones "
                             "to 1 or more");
    for (int i = 0; i < q->space.n; i++)
        if (q->space.axis[i].key->effect == EFFECT_IMPOSSIBLE)
            return ERR(E_CONFIG,
                       "search.space: %s cannot change within a run, which pbt's trials do; take "
                       "its row out, or choose another search.rule",
                       q->space.axis[i].key->name);
    q->n_all = q->n + q->n_milestones * n_replaced(q);
    return OK;
}

/* The population at a milestone of the search, best first. */
struct rank {
    double value;
    int slot, trial;
};

static int by_value(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->slot - y->slot;
}

/* Ranks those that make up milestone g; false while some of them have not come there. */
static bool rank_members(struct rank *r, const struct search *q, const struct history *h, int g)
{
    for (int j = 0; j < q->n; j++) {
        if (r[j].trial >= h->n || !trial_settled(&h->trial[r[j].trial], g - born(q, r[j].trial)))
            return false;
        r[j].value = trial_value_at(&h->trial[r[j].trial], g - born(q, r[j].trial));
    }
    qsort(r, (size_t)q->n, sizeof *r, by_value);
    return true;
}

/* The population at milestone g, from all those before it. *known: it is there. r: mem_free. */
static int population(struct rank **r, const struct search *q, const struct history *h, int g,
                      bool *known)
{
    int n = q->n, b = n_replaced(q);
    *known = true;
    TRY(mem_alloc(r, (size_t)n, sizeof **r, "a population"));
    for (int j = 0; j < n; j++)
        (*r)[j] = (struct rank){0, j, j};
    for (int x = 0; x <= g && *known; x++) {
        /* The worst one's place goes to the first successor. */
        for (int j = 0; j < b && x > 0; j++)
            (*r)[n - 1 - j].trial = n + (x - 1) * b + j;
        *known = rank_members(*r, q, h, x);
    }
    return OK;
}

static double perturb_number(const struct axis *a, double v, struct dice *d)
{
    bool up = dice_uniform(d) < 0.5;
    double to = fmin(fmax(v * (up ? UP : DOWN), a->low), a->high);
    double near = axis_unscale(a, axis_scale(a, to));
    if (a->whole && near == v)
        return fmin(fmax(v + (up ? 1 : -1), a->low), a->high);
    return near;
}

/* The parent's point with other values. */
static void perturb(const struct search *q, double *point, struct dice *d)
{
    for (int i = 0; i < q->space.n; i++) {
        const struct axis *a = &q->space.axis[i];
        double first = dice_uniform(d), second = dice_uniform(d);
        if (!space_applies(&q->space, i, point))
            point[i] = NAN;
        else if (isnan(point[i]) || (a->choice && first < ANEW))
            point[i] = axis_at(a, second);
        else if (!a->choice)
            point[i] = perturb_number(a, point[i], d);
    }
}

/* The plan of the trial that goes on from `parent` past milestone g. */
static int succeed(const struct search *q, const struct trial *parent, int g, struct dice *d,
                   struct trial_plan *plan)
{
    double point[SPACE_MAX_AXES];
    if (!space_read(&q->space, &parent->plan, point))
        return ERR(E_BUG, "trial %d is no point of search.space", parent->number);
    perturb(q, point, d);
    TRY(space_write(&q->space, point, plan));
    plan->parent = parent->number;
    plan->parent_tokens = q->milestone[g];
    plan->n_milestones = q->n_milestones - g - 1;
    memmove(plan->milestones, q->milestone + g + 1,
            (size_t)plan->n_milestones * sizeof *plan->milestones);
    snprintf(plan->role, sizeof plan->role, "pbt");
    return OK;
}

static int pbt_propose(const struct search *q, const struct history *h, struct trial_plan *plan,
                       enum answer *answer)
{
    double point[SPACE_MAX_AXES];
    struct rank *r;
    bool known;
    int b = n_replaced(q), g = born(q, h->n) - 1;
    if (h->n < q->n) {
        TRY(choose_random(q, h->n, NULL, 0, point));
        return space_write(&q->space, point, plan);
    }
    TRY(population(&r, q, h, g, &known));
    struct dice d = search_dice(q, FOR_PBT, h->n);
    const struct rank *parent = &r[(int)(dice_uniform(&d) * b)];
    if (known && parent->value == INFINITY)
        parent = r;
    *answer = !known ? ANSWER_WAIT : parent->value == INFINITY ? ANSWER_STOP : ANSWER_GO;
    int from = parent->trial;
    mem_free(r);
    return *answer == ANSWER_GO ? succeed(q, &h->trial[from], g, &d, plan) : OK;
}

static int pbt_judge(const struct search *q, const struct history *h, int i, int k,
                     enum answer *answer, char *why)
{
    struct rank *r;
    bool known;
    int b = n_replaced(q), g = born(q, i) + k, place = 0;
    TRY(population(&r, q, h, g, &known));
    while (place < q->n - 1 && r[place].trial != i)
        place++;
    int successor = q->n + g * b + (q->n - 1 - place);
    *answer = !known ? ANSWER_WAIT : place >= q->n - b ? ANSWER_STOP : ANSWER_GO;
    if (*answer == ANSWER_STOP)
        snprintf(why, WHY_BYTES,
                 "its loss at milestone %d, %.4g, is among the worst %d of %d; trial %d takes its "
                 "place from a better one's checkpoint",
                 g + 1, r[place].value, b, q->n, successor);
    mem_free(r);
    return OK;
}

const struct search_rule SEARCH_PBT = {.name = "pbt",
                                       .learns = true,
                                       .makes_plans = true,
                                       .open = pbt_open,
                                       .propose = pbt_propose,
                                       .judge = pbt_judge};
