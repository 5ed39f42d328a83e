/* Which trials put scaling rules to test. */
#include "rules.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "study/length.h"
#include "study/list.h"
#include "study/rate_grid.h"
#include "study/search.h"
#include "study/space.h"
#include "train/scaling.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALIDATIONS = 2 };
/* Rates that differ by no more are one trial: a grid's have four digits. */
static const double SAME = 1e-3;

/* ---- set-up ---- */

static int read_rules(struct rules_setup *s)
{
    const char *text = s->conf.study.rules;
    for (const char *at = text + strspn(text, ", "); *at != '\0'; at += strspn(at, ", ")) {
        char name[32];
        size_t len = strcspn(at, ", ");
        if (s->n_rules == RULES_MOST)
            return ERR(E_CONFIG, "study.rules: more than %d rules", RULES_MOST);
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        int rc = lrscale_find(&s->rule[s->n_rules], name);
        if (rc != OK)
            return err_context(rc, "study.rules");
        for (int i = 0; i < s->n_rules; i++)
            if (s->rule[i] == s->rule[s->n_rules])
                return ERR(E_CONFIG, "study.rules: %s is there twice", name);
        s->n_rules++;
        at += len;
    }
    return s->n_rules > 0 ? OK
                          : ERR(E_CONFIG, "study.rules is empty; name rules such as none,linear,"
                                          "sqrt (`carat help scaling`)");
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void add_batch(struct rules_setup *s, double batch)
{
    for (int i = 0; i < s->n_batches; i++)
        if (s->batch[i] == batch)
            return;
    s->batch[s->n_batches++] = batch;
}

static int read_batches(struct rules_setup *s)
{
    const struct config *c = &s->conf;
    double base = (double)(c->scaling.base_batch > 0 ? c->scaling.base_batch : c->batch.global);
    TRY(study_batches(s->batch, &s->n_batches, RULES_MOST_BATCHES - 1, c));
    add_batch(s, base);
    qsort(s->batch, (size_t)s->n_batches, sizeof *s->batch, by_size);
    if (s->n_batches < 2)
        return ERR(E_CONFIG, "study.batches: a rule goes from one batch to another; name two");
    while (s->batch[s->base] != base)
        s->base++;
    return OK;
}

static int check_jobs(const struct rules_setup *s)
{
    for (int i = 0; i < s->n_batches; i++) {
        struct config c = s->conf;
        c.batch.global = (int64_t)s->batch[i];
        c.batch.ramp[0] = '\0';
        int rc = conf_check(&c);
        if (rc != OK)
            return err_context(rc, "study.batches: %.0f", s->batch[i]);
    }
    return OK;
}

int rules_init(struct rules_setup *s, const struct config *job)
{
    memset(s, 0, sizeof *s);
    s->conf = *job;
    if (*job->batch.ramp != '\0')
        return ERR(E_CONFIG, "batch.ramp changes the batch on the way, and rules are tested at one "
                             "batch after the other; set batch.ramp=\"\"");
    TRY(read_rules(s));
    TRY(read_batches(s));
    TRY(check_jobs(s));
    TRY(study_length(&s->run_tokens, job));
    double least = s->run_tokens * (double)(s->n_batches + s->n_rules);
    if (job->study.budget.unit != UNIT_NONE && job->study.budget.value < least)
        return ERR(E_CONFIG,
                   "study.budget is %.4g tokens, and a trial at each batch and of each rule would "
                   "take %.4g; raise it, or make the run shorter",
                   job->study.budget.value, least);
    return OK;
}

/* ---- trials ---- */

bool rules_rate_alone(const struct lrscale_rule *rule)
{
    return rule->beta == NULL && rule->eps == NULL && rule->decay == NULL && !rule->per_step;
}

bool rules_settings(struct optim_settings *out, const struct rules_setup *s,
                    const struct lrscale_rule *rule, double base_lr, double batch)
{
    struct scaling g;
    struct config c = s->conf;
    c.optimizer.lr = base_lr;
    c.batch.global = (int64_t)batch;
    c.scaling.base_batch = (int64_t)s->batch[s->base];
    snprintf(c.scaling.rule, sizeof c.scaling.rule, "%s", rule->name);
    if (derive_scaling(&g, &c) != OK) {
        err_clear();
        return false;
    }
    *out = derive_settings(&g, c.batch.global);
    return true;
}

double rules_loss(const struct history *h, int i)
{
    if (i < 0 || i >= h->n)
        return NAN;
    const struct trial *t = &h->trial[i];
    if (t->state == TRIAL_DIVERGED)
        return INFINITY;
    if (t->state != TRIAL_DONE)
        return NAN;
    return isfinite(t->value) ? t->value : INFINITY;
}

int rules_find(const struct rules_list *l, const struct lrscale_rule *rule, double batch, double lr)
{
    for (int i = 0; i < l->n; i++) {
        const struct rules_trial *t = &l->trial[i];
        if (t->batch == batch && t->rule == rule && fabs(t->lr / lr - 1) < SAME)
            return i;
    }
    return -1;
}

int rules_scores(struct rate_score *x, const struct rules_list *l, const struct history *h,
                 double batch)
{
    int n = 0;
    for (int i = 0; i < l->n; i++) {
        double loss = rules_loss(h, i);
        if (l->trial[i].batch == batch && l->trial[i].rule == NULL && !isnan(loss))
            x[n++] = (struct rate_score){l->trial[i].lr, loss};
    }
    return n;
}

/* Once for each. */
static int add_trial(struct rules_list *l, const struct lrscale_rule *rule, double batch, double lr)
{
    if (rules_find(l, rule, batch, lr) >= 0)
        return OK;
    if (l->n == l->room) {
        struct rules_trial *more;
        int room = l->room > 0 ? 2 * l->room : 64;
        TRY(mem_alloc(&more, (size_t)room, sizeof *more, "trials of rules"));
        if (l->n > 0)
            memcpy(more, l->trial, (size_t)l->n * sizeof *more);
        mem_free(l->trial);
        l->trial = more;
        l->room = room;
    }
    l->trial[l->n++] = (struct rules_trial){batch, lr, rule};
    return OK;
}

static struct rate_grid grid_around(const struct rules_setup *s, double centre)
{
    return (struct rate_grid){.centre = centre,
                              .step = s->conf.study.rate_step,
                              .n = (int)s->conf.study.rates,
                              .extend = (int)s->conf.study.extend};
}

static int add_grid(struct rules_list *l, const struct rules_setup *s, double batch, double centre)
{
    struct rate_grid g = grid_around(s, centre);
    for (int i = rate_grid_low(&g); i <= rate_grid_high(&g); i++)
        TRY(add_trial(l, NULL, batch, rate_grid_rate(&g, i)));
    return OK;
}

static bool all_ended(const struct rules_list *l, const struct history *h)
{
    for (int i = 0; i < l->n; i++)
        if (i >= h->n || !trial_ended(&h->trial[i]))
            return false;
    return true;
}

/* What came of the grid's rates that were tried at a batch; into p[2 extend + n]. */
static int grid_points(struct grid_point *p, const struct rate_grid *g, const struct rules_list *l,
                       const struct history *h, double batch)
{
    int n = 0;
    for (int i = rate_grid_low(g) - g->extend; i <= rate_grid_high(g) + g->extend; i++) {
        double loss = rules_loss(h, rules_find(l, NULL, batch, rate_grid_rate(g, i)));
        if (!isnan(loss))
            p[n++] = (struct grid_point){i, loss, isfinite(loss) ? loss : NAN};
    }
    return n;
}

/* One rate more at a batch whose best one is at an edge. centre: of its first grid. */
static int extend(struct rules_list *l, const struct rules_setup *s, const struct history *h,
                  double batch, double centre)
{
    struct rate_grid g = grid_around(s, centre);
    struct grid_point *p;
    TRY(mem_alloc(&p, (size_t)(g.n + 2 * g.extend), sizeof *p, "rates of a batch"));
    int n = grid_points(p, &g, l, h, batch), side = n > 0 ? rate_grid_side(&g, p, n) : 0;
    int index = side != 0 ? p[rate_grid_best(p, n)].index : 0;
    mem_free(p);
    if (side == 0)
        return OK;
    /* Those that failed are there too, and say nothing. */
    do
        index += side;
    while (rules_find(l, NULL, batch, rate_grid_rate(&g, index)) >= 0);
    bool room = index >= rate_grid_low(&g) - g.extend && index <= rate_grid_high(&g) + g.extend;
    return room ? add_trial(l, NULL, batch, rate_grid_rate(&g, index)) : OK;
}

/* Where the grid of a batch begins: the base's best rate by the rule that its optimizer is known
 * for. */
static double centre_of(const struct rules_setup *s, const struct rules_list *l, double batch)
{
    double kappa = batch / s->batch[s->base];
    return l->base_lr * (lrscale_is_adaptive(s->conf.optimizer.name) ? sqrt(kappa) : kappa);
}

static int add_rules(struct rules_list *l, const struct rules_setup *s, double batch)
{
    for (int i = 0; i < s->n_rules; i++) {
        const struct lrscale_rule *rule = s->rule[i];
        struct optim_settings o;
        if (!rules_settings(&o, s, rule, l->base_lr, batch))
            continue;
        if (rules_rate_alone(rule))
            TRY(add_trial(l, NULL, batch, o.lr));
        else
            TRY(add_trial(l, rule, batch, l->base_lr));
    }
    return OK;
}

/* Adds to the list until its trials have not all ended, or nothing more is to be added. */
static int tune_base(struct rules_list *l, const struct rules_setup *s, const struct history *h,
                     bool *tuned)
{
    double base = s->batch[s->base];
    int before = 0;
    *tuned = false;
    TRY(add_grid(l, s, base, s->conf.optimizer.lr));
    while (l->n > before && all_ended(l, h)) {
        before = l->n;
        TRY(extend(l, s, h, base, s->conf.optimizer.lr));
    }
    *tuned = l->n == before;
    return OK;
}

static void find_base_rate(struct rules_list *l, const struct rules_setup *s,
                           const struct history *h)
{
    double best = INFINITY;
    for (int i = 0; i < l->n; i++)
        if (l->trial[i].batch == s->batch[s->base] && rules_loss(h, i) < best) {
            best = rules_loss(h, i);
            l->base_lr = l->trial[i].lr;
        }
}

static int add_others(struct rules_list *l, const struct rules_setup *s, const struct history *h)
{
    int before = 0;
    for (int i = 0; i < s->n_batches; i++) {
        if (i == s->base)
            continue;
        TRY(add_grid(l, s, s->batch[i], centre_of(s, l, s->batch[i])));
        TRY(add_rules(l, s, s->batch[i]));
    }
    while (l->n > before && all_ended(l, h)) {
        int n = l->n;
        for (int i = 0; i < s->n_batches; i++)
            if (i != s->base)
                TRY(extend(l, s, h, s->batch[i], centre_of(s, l, s->batch[i])));
        before = n;
    }
    l->complete = l->n == before;
    return OK;
}

int rules_lay_out(struct rules_list *l, const struct rules_setup *s, const struct history *h)
{
    bool tuned;
    *l = (struct rules_list){.base_lr = NAN};
    TRY(tune_base(l, s, h, &tuned));
    if (!tuned)
        return OK;
    find_base_rate(l, s, h);
    l->complete = isnan(l->base_lr);
    return l->complete ? OK : add_others(l, s, h);
}

int rules_facts(struct rules_facts *f, const struct rules_setup *s, const struct history *h)
{
    struct rules_list l;
    int first = (int)s->conf.study.rates * s->n_batches + s->n_rules * (s->n_batches - 1);
    int rc = rules_lay_out(&l, s, h);
    f->n = l.complete || l.n > first ? l.n : first;
    f->n_most = l.complete ? l.n : first + 2 * (int)s->conf.study.extend * s->n_batches;
    mem_free(l.trial);
    return rc;
}

/* ---- planner ---- */

static int rules_open(void **self, const struct study *s, const struct config *job)
{
    struct rules_setup *r;
    (void)s;
    *self = NULL;
    TRY(mem_alloc(&r, 1, sizeof *r, "a test of rules"));
    int rc = rules_init(r, job);
    if (rc == OK)
        *self = r;
    else
        mem_free(r);
    return rc;
}

static int set_trial(const struct rules_setup *s, const struct rules_trial *t,
                     struct trial_plan *plan)
{
    char text[64];
    snprintf(text, sizeof text, "%.8g", t->lr);
    plan->parent = -1;
    plan->validations = VALIDATIONS;
    snprintf(plan->role, sizeof plan->role, "%s", t->rule != NULL ? t->rule->name : "rate");
    TRY(plan_set(plan, "optimizer.lr", text));
    TRY(plan_set_number(plan, "batch.global", t->batch));
    TRY(plan_set(plan, "scaling.rule", t->rule != NULL ? t->rule->name : "none"));
    TRY(plan_set_number(plan, "scaling.base_batch",
                        t->rule != NULL ? s->batch[s->base] : t->batch));
    return plan_in_tokens(plan, &s->conf);
}

/* Whole trials within the budget. */
static bool has_budget(const struct rules_setup *s, int n)
{
    const struct amount *b = &s->conf.study.budget;
    return b->unit == UNIT_NONE || (n + 1) * s->run_tokens <= b->value;
}

static int rules_propose(void *self, const struct history *h, struct trial_plan *plan,
                         enum answer *answer)
{
    const struct rules_setup *s = self;
    struct rules_list l;
    int rc = rules_lay_out(&l, s, h);
    *answer = ANSWER_WAIT;
    if (rc == OK && h->n < l.n && has_budget(s, h->n)) {
        *answer = ANSWER_GO;
        rc = set_trial(s, &l.trial[h->n], plan);
    } else if (h->n < l.n || l.complete) {
        *answer = ANSWER_STOP;
    }
    mem_free(l.trial);
    return rc;
}

static int rules_go_on(void *self, const struct history *h, int i, int k, enum answer *answer,
                       char *why)
{
    (void)self, (void)h, (void)i, (void)k, (void)why;
    *answer = ANSWER_GO;
    return OK;
}

static void rules_headline(void *self, const struct history *h, char *text, size_t n)
{
    const struct rules_setup *s = self;
    struct rules_list l;
    if (rules_lay_out(&l, s, h) != OK || isnan(l.base_lr))
        snprintf(text, n, "tuning the rate at the base batch, %.0f", s->batch[s->base]);
    else
        snprintf(text, n, "best rate %.4g at the base batch, %.0f; %d rules at %d batches",
                 l.base_lr, s->batch[s->base], s->n_rules, s->n_batches);
    err_clear();
    mem_free(l.trial);
}

static void rules_close(void *self)
{
    mem_free(self);
}

const struct planner PLANNER_RULES = {.kind = "rules",
                                      .open = rules_open,
                                      .propose = rules_propose,
                                      .judge = rules_go_on,
                                      .headline = rules_headline,
                                      .close = rules_close};
