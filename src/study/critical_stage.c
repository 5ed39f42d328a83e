#include "study/critical_plan.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_table.h"
#include "critical_parts.h"
#include "result_parts.h"
#include "study/range_curve.h"
#include "study/search.h"
#include "study/space.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Neighbours whose steps are at most so many times the best one's get seeds too: single seeds of
 * small models lie so far apart. */
static const double NEAR = 1.15;

const char *stage_name(enum stage_kind kind)
{
    static const char *const names[] = {"range", "centre", "grid", "extend", "seeds", "time"};
    return names[kind];
}

/* ---- trials as the plan sees them ---- */

static bool is_at(const struct critical_plan *p, const struct trial *t, const char *role, int batch)
{
    return trial_is(t, role) && trial_number_of(t, "batch.global") == p->batch[batch];
}

/* What a range test suggests: its curve holds the smoothed loss at each rate. */
static double suggested_rate(const struct trial *t)
{
    struct range_curve c;
    struct range_suggestion says = {.valley = NAN};
    if (t->n_curve < 1 || range_curve_init(&c, &RANGE_DEFAULT) != OK)
        return NAN;
    for (; c.n < t->n_curve && c.n < c.ramp.steps; c.n++) {
        c.lr[c.n] = range_rate(&c.ramp, c.n);
        c.loss[c.n] = c.smooth[c.n] = t->curve[c.n].loss;
    }
    range_suggest(&says, &c);
    range_curve_release(&c);
    return says.valley;
}

/* A batch's first cell is its centre: for readers who do not know what it came from. */
static bool first_rate(const struct critical_plan *p, const struct history *h, int n, int batch,
                       double *centre)
{
    for (int i = 0; i < n; i++)
        if (is_at(p, &h->trial[i], "cell", batch)) {
            *centre = trial_number_of(&h->trial[i], "optimizer.lr");
            return true;
        }
    return false;
}

bool critical_centre(const struct critical_plan *p, const struct history *h, int n, int batch,
                     double *centre)
{
    char text[32];
    *centre = p->centre[batch];
    if (!p->by_range)
        return *centre > 0 || first_rate(p, h, n, batch, centre);
    for (int i = 0; i < n; i++) {
        const struct trial *t = &h->trial[i];
        if (!is_at(p, t, "range", batch))
            continue;
        double rate = suggested_rate(t);
        if (t->state == TRIAL_DONE && isfinite(rate)) {
            snprintf(text, sizeof text, "%.1e", rate);
            parse_f64(text, centre);
        }
        return trial_ended(t);
    }
    return false;
}

struct rate_grid critical_grid(const struct critical_plan *p, double centre)
{
    return (struct rate_grid){.centre = centre,
                              .step = p->job.study.rate_step,
                              .n = (int)p->job.study.rates,
                              .extend = (int)p->job.study.extend};
}

/* The first n trials of a history, at one batch. */
struct seen_batch {
    const struct critical_plan *p;
    const struct history *h;
    int n, batch;
    struct rate_grid grid;
};

double trial_steps_to(const struct trial *t, double target)
{
    double step = INFINITY;
    for (int i = 0; i < t->n_curve && isinf(step); i++) {
        const struct curve_point *pair = &t->curve[i > 0 ? i - 1 : 0];
        double at[2] = {pair->step, t->curve[i].step}, loss[2] = {pair->loss, t->curve[i].loss};
        step = critical_crossing(at + (i == 0), loss + (i == 0), 2 - (i == 0), target);
    }
    return step;
}

/* Trials of a rate: how many, and in *point their mean score and loss. */
static int cell_of(const struct seen_batch *s, int index, double target, struct grid_point *point)
{
    int n = 0;
    *point = (struct grid_point){.index = index};
    for (int i = 0; i < s->n; i++) {
        const struct trial *t = &s->h->trial[i];
        if (!is_at(s->p, t, "cell", s->batch) ||
            rate_grid_index(&s->grid, trial_number_of(t, "optimizer.lr")) != index)
            continue;
        n++;
        point->score += trial_steps_to(t, target);
        point->loss += t->state == TRIAL_DONE || t->state == TRIAL_PRUNED ? t->value : NAN;
    }
    point->score /= n;
    point->loss /= n;
    return n;
}

/* The cells of a batch, rates rising; caller's points[GRID_MOST]. */
enum { GRID_MOST = 4096 };

static int cells_of(const struct seen_batch *s, double target, struct grid_point *points)
{
    int n = 0, low = rate_grid_low(&s->grid) - s->grid.extend;
    for (int k = low; k <= rate_grid_high(&s->grid) + s->grid.extend && n < GRID_MOST; k++)
        n += cell_of(s, k, target, &points[n]) > 0;
    return n;
}

/* The least tokens in which a cell of the batch came to the lowest target. */
static double best_tokens(const struct seen_batch *s)
{
    struct grid_point points[GRID_MOST];
    const struct critical_plan *p = s->p;
    int n = cells_of(s, p->target[p->n_targets - 1], points);
    return n == 0 ? INFINITY
                  : points[rate_grid_best(points, n)].score * p->batch[s->batch] *
                        (double)p->job.batch.seq_len;
}

/* ---- stages ---- */

struct making {
    const struct critical_plan *p;
    const struct history *h;
    int n; /* trials that count */
    struct stage *stage;
    double limit[RESULT_BATCHES]; /* tokens */
};

static bool see(struct seen_batch *s, const struct making *m, int batch)
{
    double centre;
    bool known = critical_centre(m->p, m->h, m->n, batch, &centre);
    *s = (struct seen_batch){m->p, m->h, m->n, batch, critical_grid(m->p, centre)};
    return known;
}

/* No cell takes more tokens than the best of a larger batch, times what is given up at. */
static void set_limits(struct making *m)
{
    struct seen_batch s;
    double least = INFINITY;
    for (int b = m->p->n_batches - 1; b >= 0; b--) {
        if (see(&s, m, b))
            least = fmin(least, best_tokens(&s));
        m->limit[b] = fmin(m->p->run_tokens, m->p->job.study.give_up * least);
    }
}

static int add(struct making *m, struct planned item)
{
    struct stage *g = m->stage;
    struct planned *more;
    for (int i = 0; i < g->n; i++)
        if (g->item[i].batch == item.batch && g->item[i].index == item.index &&
            g->item[i].seed == item.seed && g->item[i].ranks == item.ranks)
            return OK;
    TRY(mem_alloc(&more, (size_t)g->n + 1, sizeof *more, "a stage's trials"));
    if (g->n > 0)
        memcpy(more, g->item, (size_t)g->n * sizeof *more);
    more[g->n] = item;
    mem_free(g->item);
    g->item = more;
    g->n++;
    g->tokens += item.most_tokens;
    return OK;
}

static int add_cell(struct making *m, int batch, int index, int seed)
{
    return add(m,
               (struct planned){
                   .batch = batch, .index = index, .seed = seed, .most_tokens = m->limit[batch]});
}

static int make_range(struct making *m, int batch)
{
    double step = m->p->batch[batch] * (double)m->p->job.batch.seq_len;
    for (int i = 0; i < m->n; i++)
        if (is_at(m->p, &m->h->trial[i], "range", batch))
            return OK;
    if (!m->p->by_range)
        return OK;
    return add(m,
               (struct planned){.batch = batch, .most_tokens = step * (double)RANGE_DEFAULT.steps});
}

static int make_cells(struct making *m, int batch, int low, int high)
{
    struct seen_batch s;
    struct grid_point point;
    see(&s, m, batch);
    for (int k = low; k <= high; k++)
        if (cell_of(&s, k, 0, &point) == 0)
            TRY(add_cell(m, batch, k, 0));
    return OK;
}

static int make_centre(struct making *m, int batch)
{
    return make_cells(m, batch, 0, 0);
}

static int make_grid(struct making *m, int batch)
{
    struct rate_grid g = critical_grid(m->p, 1);
    return make_cells(m, batch, rate_grid_low(&g), rate_grid_high(&g));
}

/* Whether a batch's trials say anything: those that only failed do not. */
static bool says_something(const struct seen_batch *s)
{
    for (int i = 0; i < s->n; i++)
        if (is_at(s->p, &s->h->trial[i], "cell", s->batch) && s->h->trial[i].state != TRIAL_FAILED)
            return true;
    return false;
}

static int make_extension(struct making *m, int batch)
{
    struct seen_batch s;
    struct grid_point points[GRID_MOST];
    see(&s, m, batch);
    for (int t = 0; t < m->p->n_targets && says_something(&s); t++) {
        int n = cells_of(&s, m->p->target[t], points);
        int side = rate_grid_side(&s.grid, points, n);
        int best = points[rate_grid_best(points, n)].index;
        bool lower = !isfinite(points[rate_grid_best(points, n)].loss) &&
                     !isfinite(points[rate_grid_best(points, n)].score);
        if (side != 0)
            TRY(add_cell(m, batch, lower ? points[0].index - 1 : best + side, 0));
    }
    return OK;
}

static int make_seeds(struct making *m, int batch)
{
    struct seen_batch s;
    struct grid_point points[GRID_MOST], any;
    see(&s, m, batch);
    for (int t = 0; t < m->p->n_targets; t++) {
        int n = cells_of(&s, m->p->target[t], points), best = rate_grid_best(points, n);
        for (int i = best - 1; i <= best + 1 && isfinite(points[best].score); i++) {
            if (i < 0 || i >= n || points[i].score > NEAR * points[best].score)
                continue;
            for (int k = cell_of(&s, points[i].index, 0, &any); k < m->p->job.study.seeds; k++)
                TRY(add_cell(m, batch, points[i].index, k));
        }
    }
    return OK;
}

static int make_times(struct making *m, int batch)
{
    double step = m->p->batch[batch] * (double)m->p->job.batch.seq_len;
    for (int r = 0; r < m->p->n_ranks; r++) {
        bool there = false;
        for (int i = 0; i < m->n; i++)
            there = there || (is_at(m->p, &m->h->trial[i], "time", batch) &&
                              trial_number_of(&m->h->trial[i], "study.ranks") == m->p->ranks[r]);
        if (!there)
            TRY(add(m, (struct planned){.batch = batch,
                                        .ranks = (int)m->p->ranks[r],
                                        .most_tokens = step * TIME_STEPS}));
    }
    return OK;
}

/* The stage that follows the first m->n trials: the first kind that has anything to do. Large
 * batches come first: their trials are the long ones. */
static int make_stage(struct making *m)
{
    static int (*const makers[])(struct making *, int) = {make_range,     make_centre, make_grid,
                                                          make_extension, make_seeds,  make_times};
    set_limits(m);
    for (size_t k = 0; k < sizeof makers / sizeof makers[0] && m->stage->n == 0; k++) {
        m->stage->kind = (enum stage_kind)k;
        for (int b = m->p->n_batches - 1; b >= 0; b--)
            TRY(makers[k](m, b));
    }
    return OK;
}

/* ---- the budget ---- */

static double core_hours(const struct critical_plan *p, const struct trial *t)
{
    return t->train_s * t->ranks * (double)p->job.parallel.threads / 3600;
}

/* What a stage takes at most, by the core-hours a token of earlier trials at its batches. */
static double stage_hours(const struct making *m)
{
    double sum = 0;
    for (int i = 0; i < m->stage->n; i++) {
        double hours = 0, tokens = 0;
        for (int k = 0; k < m->n; k++) {
            const struct trial *t = &m->h->trial[k];
            bool same = trial_number_of(t, "batch.global") == m->p->batch[m->stage->item[i].batch];
            hours += same ? core_hours(m->p, t) : 0;
            tokens += same ? t->tokens : 0;
        }
        sum += tokens > 0 ? m->stage->item[i].most_tokens * hours / tokens : 0;
    }
    return sum;
}

/* Whether the budget has room for the stage. */
static bool affords(const struct making *m, struct str *why)
{
    const struct config *c = &m->p->job;
    double tokens = m->stage->tokens, hours = stage_hours(m);
    for (int i = 0; i < m->n; i++) {
        tokens += m->h->trial[i].tokens;
        hours += core_hours(m->p, &m->h->trial[i]);
    }
    bool dear = c->study.budget.unit != UNIT_NONE && tokens > c->study.budget.value;
    bool slow = c->study.core_hours > 0 && hours > c->study.core_hours;
    if ((dear || slow) && why != NULL)
        str_addf(why,
                 "stage \"%s\" (%d trials) was not begun: with it the study may come to %.3g %s, "
                 "and %s is %.3g\n",
                 stage_name(m->stage->kind), m->stage->n, dear ? tokens : hours,
                 dear ? "tokens" : "core-hours", dear ? "study.budget" : "study.core_hours",
                 dear ? c->study.budget.value : c->study.core_hours);
    return !dear && !slow;
}

static bool all_ended(const struct history *h, int n)
{
    for (int i = 0; i < n; i++)
        if (!trial_ended(&h->trial[i]))
            return false;
    return true;
}

int critical_stage(const struct critical_plan *p, const struct history *h, struct stage *stage,
                   enum answer *answer, struct str *why)
{
    struct making m = {.p = p, .h = h, .stage = stage};
    *stage = (struct stage){0};
    for (;;) {
        *answer = ANSWER_WAIT;
        if (!all_ended(h, m.n))
            return OK;
        TRY(make_stage(&m));
        stage->first = m.n;
        *answer = stage->n == 0 || !affords(&m, why) ? ANSWER_STOP : ANSWER_GO;
        if (*answer == ANSWER_STOP || h->n < m.n + stage->n)
            return OK;
        m.n += stage->n;
        mem_free(stage->item);
        *stage = (struct stage){0};
    }
}

/* ---- what is to come ---- */

double critical_best_tokens(const struct critical_plan *p, const struct history *h, int batch)
{
    double centre;
    bool known = critical_centre(p, h, h->n, batch, &centre);
    struct seen_batch s = {p, h, h->n, batch, critical_grid(p, centre)};
    return known ? best_tokens(&s) : INFINITY;
}

/* Tokens of a batch's cells: those that ended as they were, the others as expected. */
static double cell_tokens(const struct critical_plan *p, const struct history *h, int batch,
                          int *n_trials)
{
    int n = 0, n_first = (int)(p->job.study.rates + p->job.study.seeds - 1);
    double sum = 0, each = fmin(p->run_tokens, critical_best_tokens(p, h, batch));
    for (int i = 0; i < h->n; i++)
        if (is_at(p, &h->trial[i], "cell", batch)) {
            n++;
            sum += trial_ended(&h->trial[i]) ? h->trial[i].tokens : each;
        }
    int more = n < n_first ? n_first - n : 0;
    *n_trials += n + more;
    return sum + more * each;
}

/* Tokens of a batch's trials of a role that leaves no run, of which there are n in the end. */
static double probe_tokens(const struct critical_plan *p, const struct history *h, int batch,
                           const char *role, int n, double each)
{
    double sum = n * each;
    for (int i = 0; i < h->n; i++)
        if (is_at(p, &h->trial[i], role, batch) && trial_ended(&h->trial[i]))
            sum += h->trial[i].tokens - each;
    return sum;
}

void critical_foresee(const struct critical_plan *p, const struct history *h,
                      struct critical_facts *f)
{
    const struct config *c = &p->job;
    double most = (double)(c->study.rates + 2 * c->study.extend + 3 * (c->study.seeds - 1));
    *f = (struct critical_facts){0};
    for (int b = 0; b < p->n_batches; b++) {
        double step = p->batch[b] * (double)c->batch.seq_len;
        double probes = probe_tokens(p, h, b, "range", p->by_range ? 1 : 0,
                                     step * (double)RANGE_DEFAULT.steps) +
                        probe_tokens(p, h, b, "time", p->n_ranks, step * TIME_STEPS);
        f->n_trials += (p->by_range ? 1 : 0) + p->n_ranks;
        f->tokens += probes + cell_tokens(p, h, b, &f->n_trials);
        f->most_tokens += probes + most * p->run_tokens;
    }
}
