/* The planner of searches: what the rules say, in the frame of a study. */
#include "study/search.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "study/gp.h"
#include "study/length.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_VALIDATIONS = 4 /* of trials without milestones */ };

static int choose_tpe(const struct search *q, int number, const struct seen *seen, int n,
                      double *point)
{
    struct dice d = search_dice(q, FOR_TPE, number);
    return tpe_propose(point, &q->space, seen, n, (int)q->conf.search.candidates, &d);
}

static int choose_gp(const struct search *q, int number, const struct seen *seen, int n,
                     double *point)
{
    struct dice d = search_dice(q, FOR_GP, number);
    return gp_propose(point, &q->space, seen, n, &d);
}

static const struct search_rule GRID = {.name = "grid", .open = grid_open, .choose = choose_grid};
static const struct search_rule RANDOM = {.name = "random", .choose = choose_random};
static const struct search_rule HALTON = {.name = "halton", .choose = choose_halton};
static const struct search_rule TPE = {.name = "tpe", .learns = true, .choose = choose_tpe};
static const struct search_rule GP = {.name = "gp", .learns = true, .choose = choose_gp};
static const struct search_rule *const RULES[] = {&GRID, &RANDOM,     &HALTON,       &TPE,
                                                  &GP,   &SEARCH_PBT, &SEARCH_BANDIT};

static const struct prune_rule PRUNES[] = {{"none", false, NULL},
                                           {"median", false, judge_median},
                                           {"halving", true, judge_halving},
                                           {"asha", true, judge_asha}};

const struct search_rule *search_rule_find(const char *name)
{
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++)
        if (strcmp(RULES[i]->name, name) == 0)
            return RULES[i];
    return NULL;
}

const struct prune_rule *prune_rule_find(const char *name)
{
    for (size_t i = 0; i < sizeof PRUNES / sizeof PRUNES[0]; i++)
        if (strcmp(PRUNES[i].name, name) == 0)
            return &PRUNES[i];
    return NULL;
}

const struct space *search_space(const void *self)
{
    return &((const struct search *)self)->space;
}

static void search_close(void *self)
{
    struct search *q = self;
    space_release(&q->space);
    mem_free(q->milestone);
    mem_free(q->grid);
    mem_free(q);
}

static int search_open(void **self, const struct study *s, const struct config *job)
{
    struct search *q;
    *self = NULL;
    TRY(mem_alloc(&q, 1, sizeof *q, "a search"));
    int rc = search_init(q, s, job);
    if (rc == OK)
        *self = q;
    else
        search_close(q);
    return rc;
}

/* Trials whose results trial n may know: those before its bracket, or ahead numbers older. */
static int n_known(const struct search *q, int n)
{
    int ahead = (int)q->conf.study.ahead;
    if (search_in_brackets(q))
        return n / q->bracket * q->bracket;
    return n >= ahead ? n - ahead + 1 : 0;
}

static bool all_ended(const struct history *h, int n)
{
    for (int t = 0; t < n; t++)
        if (!trial_ended(&h->trial[t]))
            return false;
    return true;
}

/* A trial as samplers rank it: in the order of Optuna's, diverged ones behind those given up. */
static struct seen rank_trial(const struct trial *t, const double *point, bool known)
{
    if (!known)
        return (struct seen){point, INFINITY, INFINITY};
    double value = isfinite(t->value) ? t->value : INFINITY;
    if (t->state == TRIAL_DONE)
        return (struct seen){point, SEEN_DONE, value};
    if (t->state == TRIAL_PRUNED)
        return (struct seen){point, -(double)t->n_reached, value};
    return (struct seen){point, 0, INFINITY};
}

/* Chooses from what the first n_known trials came to; the others count as running, those that
 * failed, which says nothing of their settings, as never tried. */
static int choose_learned(const struct search *q, const struct history *h, int known, double *point)
{
    struct seen *seen;
    double *points;
    int n = 0, n_ended = 0;
    TRY(mem_alloc(&seen, (size_t)h->n + 1, sizeof *seen, "trials seen"));
    int rc = mem_alloc(&points, (size_t)(h->n + 1) * (size_t)q->space.n, sizeof *points,
                       "points of trials");
    for (int t = 0; t < h->n && rc == OK; t++) {
        double *at = points + n * q->space.n;
        if ((t < known && h->trial[t].state == TRIAL_FAILED) ||
            !space_read(&q->space, &h->trial[t].plan, at))
            continue;
        seen[n++] = rank_trial(&h->trial[t], at, t < known);
        n_ended += t < known;
    }
    if (rc == OK && n_ended < q->conf.search.startup)
        rc = choose_startup(q, h->n, point);
    else if (rc == OK)
        rc = q->rule->choose(q, h->n, seen, n, point);
    mem_free(points);
    mem_free(seen);
    return rc;
}

static int propose_point(const struct search *q, const struct history *h, struct trial_plan *plan,
                         enum answer *answer)
{
    double point[SPACE_MAX_AXES];
    int known = n_known(q, h->n);
    bool learns = q->rule->learns && known > 0 && known >= q->conf.search.startup;
    *answer = learns && !all_ended(h, known) ? ANSWER_WAIT : ANSWER_GO;
    if (*answer == ANSWER_WAIT)
        return OK;
    if (learns)
        TRY(choose_learned(q, h, known, point));
    else if (q->rule->learns)
        TRY(choose_startup(q, h->n, point));
    else
        TRY(q->rule->choose(q, h->n, NULL, 0, point));
    return space_write(&q->space, point, plan);
}

/* Tokens that a trial has trained on itself. */
static double own_tokens(const struct trial *t)
{
    double before = t->plan.parent >= 0 ? t->plan.parent_tokens : 0;
    return t->tokens > before ? t->tokens - before : 0;
}

/* Whether a trial more may begin: what is known to have been used, and whole runs for the others,
 * leave room for it. */
static enum answer ask_budget(const struct search *q, const struct history *h)
{
    double tokens = 0, hours = 0;
    int known = n_known(q, h->n);
    bool limited = q->conf.study.budget.unit != UNIT_NONE && !search_in_brackets(q);
    for (int t = 0; t < h->n; t++) {
        tokens += t < known ? own_tokens(&h->trial[t]) : q->run_tokens;
        hours += h->trial[t].train_s * h->trial[t].ranks / 3600;
    }
    bool at_start = !search_in_brackets(q) || h->n % q->bracket == 0;
    if (q->conf.study.core_hours > 0 && hours >= q->conf.study.core_hours && at_start)
        return ANSWER_STOP;
    if (!limited || q->run_tokens * (h->n + 1) <= q->conf.study.budget.value)
        return ANSWER_GO;
    if (!all_ended(h, known))
        return ANSWER_WAIT;
    return tokens + q->run_tokens <= q->conf.study.budget.value ? ANSWER_GO : ANSWER_STOP;
}

/* What all plans have in common. */
static int begin_plan(const struct search *q, struct trial_plan *plan)
{
    plan->parent = -1;
    plan->n_milestones = q->n_milestones;
    plan->validations = q->n_milestones > 0 ? 0 : N_VALIDATIONS;
    snprintf(plan->role, sizeof plan->role, "%s", q->rule->name);
    TRY(mem_alloc(&plan->milestones, (size_t)q->n_milestones, sizeof *plan->milestones,
                  "a trial's milestones"));
    if (q->n_milestones > 0)
        memcpy(plan->milestones, q->milestone, (size_t)q->n_milestones * sizeof *q->milestone);
    return OK;
}

static int set_length(const struct search *q, struct trial_plan *plan)
{
    if (q->by_flops)
        return arch_complete(&q->arch, &q->space, q->run_tokens, plan);
    return q->sets_length ? plan_set_number(plan, "train.tokens", q->run_tokens) : OK;
}

static int search_propose(void *self, const struct history *h, struct trial_plan *plan,
                          enum answer *answer)
{
    const struct search *q = self;
    *answer = h->n >= q->n_all ? ANSWER_STOP : ANSWER_GO;
    if (*answer == ANSWER_GO && !q->rule->makes_plans)
        *answer = ask_budget(q, h);
    if (*answer != ANSWER_GO)
        return OK;
    TRY(begin_plan(q, plan));
    if (q->rule->propose != NULL)
        TRY(q->rule->propose(q, h, plan, answer));
    else
        TRY(propose_point(q, h, plan, answer));
    return *answer == ANSWER_GO ? set_length(q, plan) : OK;
}

static int search_judge(void *self, const struct history *h, int i, int k, enum answer *answer,
                        char *why)
{
    const struct search *q = self;
    *answer = ANSWER_GO;
    if (q->rule->judge != NULL)
        return q->rule->judge(q, h, i, k, answer, why);
    return q->prune->judge != NULL ? q->prune->judge(q, h, i, k, answer, why) : OK;
}

/* The trial with the least loss among those in their end state, or, before there are any, among
 * all. */
static const struct trial *best_trial(const struct history *h)
{
    const struct trial *best = NULL;
    for (int t = 0; t < h->n; t++) {
        const struct trial *r = &h->trial[t];
        bool done = r->state == TRIAL_DONE, best_done = best != NULL && best->state == TRIAL_DONE;
        if (!isfinite(r->value) || (best_done && !done))
            continue;
        if (best == NULL || (done && !best_done) || r->value < best->value)
            best = r;
    }
    return best;
}

static void search_headline(void *self, const struct history *h, char *text, size_t n)
{
    const struct search *q = self;
    const struct trial *best = best_trial(h);
    double point[SPACE_MAX_AXES], number;
    struct str line = {0};
    if (best == NULL || !space_read(&q->space, &best->plan, point)) {
        snprintf(text, n, "no trial has a loss yet");
        return;
    }
    str_addf(&line, "best %.4f by trial %d", best->value, best->number);
    for (int i = 0; i < q->space.n; i++) {
        const struct axis *a = &q->space.axis[i];
        const char *value = trial_setting(&best->plan, a->key->name);
        str_add(&line, i == 0 ? ": " : isnan(point[i]) ? "" : ", ");
        if (isnan(point[i]))
            continue;
        if (!a->choice && parse_f64(value, &number))
            str_addf(&line, "%s %.4g", a->key->name, number);
        else
            str_addf(&line, "%s %s", a->key->name, value);
    }
    if (q->rule->remark != NULL)
        q->rule->remark(q, h, (int)(best - h->trial), &line);
    snprintf(text, n, "%s", line.s);
    str_release(&line);
}

static bool search_branches(const void *self)
{
    const struct search *q = self;
    return q->rule->makes_plans;
}

const struct planner PLANNER_SEARCH = {.kind = "search",
                                       .open = search_open,
                                       .propose = search_propose,
                                       .judge = search_judge,
                                       .headline = search_headline,
                                       .close = search_close,
                                       .branches = search_branches};
