/* What a search is, from its job: checks, milestones, cost. */
#include "study/search.h"

#include "base/err.h"
#include "base/mem.h"
#include "conf/config_file.h"
#include "study/length.h"
#include "train/derive.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

bool search_in_brackets(const struct search *q)
{
    return q->prune->judge == judge_halving;
}

static int find_length(struct search *q)
{
    const struct config *c = &q->conf;
    TRY(study_length(&q->run_tokens, c));
    for (int i = 0; i < q->space.n; i++)
        if (strncmp(q->space.axis[i].key->name, "batch.", strlen("batch.")) == 0)
            q->sets_length = c->train.length.unit != UNIT_TOKENS;
    return OK;
}

/* The largest number that the space gives a key, or the job's own. */
static double largest(const struct search *q, const char *key, int64_t own)
{
    char text[128];
    double v = (double)own, most = v;
    int i = space_find(&q->space, key);
    if (i < 0)
        return most;
    const struct axis *a = &q->space.axis[i];
    for (int j = 0; j < a->n_values; j++)
        if (parse_f64(axis_text(a, j, text, sizeof text), &v))
            most = fmax(most, v);
    return a->choice ? most : a->high;
}

/* Tokens of a step of the largest batch in the space. */
static double longest_step(const struct search *q)
{
    return largest(q, "batch.global", q->conf.batch.global) *
           largest(q, "batch.seq_len", q->conf.batch.seq_len);
}

/* The most milestones after which more than one trial of a bracket is still there. */
static int halvings(int n, int eta)
{
    int k = 0;
    for (; n >= eta; n /= eta)
        k++;
    return k;
}

/* Tokens at milestone k of m. */
static double milestone_at(const struct search *q, int k, int m)
{
    return floor(q->prune->geometric ? q->run_tokens / pow((double)q->conf.search.eta, m - k)
                                     : q->run_tokens * (k + 1) / (m + 1));
}

/* A milestone is reached by a step. */
static int check_milestones(const struct search *q)
{
    int m = q->n_milestones, fit = m;
    double step = longest_step(q);
    while (fit > 0 && milestone_at(q, 0, fit) < step)
        fit--;
    if (fit == m)
        return OK;
    if (fit == 0)
        return ERR(E_CONFIG,
                   "a trial of %.0f tokens is too short to be judged on its way by steps of up to "
                   "%.0f tokens; make it longer, or set search.prune=none",
                   q->run_tokens, step);
    return ERR(E_CONFIG,
               "search.milestones is %d: the first would come after %.0f tokens, before a step of "
               "up to %.0f tokens ends; set it to %d, or make the run longer",
               m, q->milestone[0], step, fit);
}

static int set_milestones(struct search *q)
{
    int m = (int)q->conf.search.milestones, eta = (int)q->conf.search.eta;
    if (q->prune->judge == NULL && !q->rule->makes_plans)
        return OK;
    if (search_in_brackets(q)) {
        m = halvings(q->n, eta) < m ? halvings(q->n, eta) : m;
        q->bracket = q->rule->learns ? (int)pow(eta, m) : q->n;
    }
    TRY(mem_alloc(&q->milestone, (size_t)m, sizeof *q->milestone, "milestones"));
    q->n_milestones = m;
    for (int k = 0; k < m; k++)
        q->milestone[k] = milestone_at(q, k, m);
    return check_milestones(q);
}

/* Whether the names in a configuration are known: the table of keys takes any text for them. */
static int check_names(const struct config *c)
{
    const struct optim_rule *optimizer;
    const struct schedule_rule *schedule;
    const struct lrscale_rule *scaling;
    TRY(optim_find(&optimizer, c->optimizer.name));
    TRY(schedule_find(&schedule, c->schedule.name));
    return lrscale_find(&scaling, c->scaling.rule);
}

/* Whether the job is one with this axis at this value; alone: no other axis may make up for what
 * does not fit. */
static int check_value(const struct search *q, const struct axis *a, double value, bool alone)
{
    struct config c = q->conf;
    struct course k;
    char text[128];
    axis_text(a, value, text, sizeof text);
    int rc = conf_set_text(a->key, &c, text);
    rc = rc != OK ? rc : check_names(&c);
    if (rc == OK && alone)
        rc = conf_check(&c);
    if (rc == OK && alone && c.train.length.unit != UNIT_EPOCHS)
        rc = derive_course(&k, &c, 0, (struct ramp_at){0, 0});
    return rc != OK ? err_context(rc, "search.space gives %s=%s", a->key->name, text) : OK;
}

/* Whether another axis may make good what one value alone does wrong. */
static bool has_neighbour(const struct search *q, int i)
{
    const char *name = q->space.axis[i].key->name;
    size_t section = strcspn(name, ".") + 1;
    for (int j = 0; j < q->space.n; j++)
        if (j != i && strncmp(q->space.axis[j].key->name, name, section) == 0)
            return true;
    return false;
}

static int check_values(const struct search *q)
{
    for (int i = 0; i < q->space.n; i++) {
        const struct axis *a = &q->space.axis[i];
        bool alone = a->parent < 0 && !has_neighbour(q, i);
        for (int v = 0; v < a->n_values; v++)
            TRY(check_value(q, a, v, alone));
        if (!a->choice) {
            TRY(check_value(q, a, a->low, alone));
            TRY(check_value(q, a, a->high, alone));
        }
    }
    return OK;
}

/* How many of n trials that come to a milestone asha lets go on, if their losses are in no order:
 * each is among the best 1/eta of those before it, `ahead` numbers away, and itself, or is best. */
static double asha_left(const struct search *q, double n)
{
    double left = 0, behind = (double)(q->conf.study.ahead - 1) * n / q->n;
    for (int j = 0; j < n; j++) {
        double seen = floor(fmax(j - behind, 0)) + 1;
        left += fmax(1, floor(seen / (double)q->conf.search.eta)) / seen;
    }
    return left;
}

/* What n trials take that are judged together. */
static double bracket_tokens(const struct search *q, int n)
{
    double before = 0, sum = 0, alive = n;
    for (int k = 0; k < q->n_milestones; k++) {
        sum += alive * (q->milestone[k] - before);
        before = q->milestone[k];
        alive = search_in_brackets(q) ? halving_left(q, n, k) : asha_left(q, alive);
    }
    return sum + alive * (q->run_tokens - before);
}

static double foreseen_tokens(const struct search *q)
{
    double sum = 0;
    if (!q->prune->geometric)
        return q->n * q->run_tokens;
    if (!search_in_brackets(q))
        return bracket_tokens(q, q->n);
    for (int at = 0; at < q->n; at += q->bracket)
        sum += bracket_tokens(q, q->n - at < q->bracket ? q->n - at : q->bracket);
    return sum;
}

void search_facts(const void *self, struct search_facts *f)
{
    const struct search *q = self;
    *f = (struct search_facts){.n_trials = q->n_all,
                               .trial_tokens = q->run_tokens,
                               .tokens = foreseen_tokens(q),
                               .most_tokens = q->n * q->run_tokens};
}

/* Rules whose trials depend on each other cannot end before the last one. */
static int check_budget(const struct search *q)
{
    double budget = q->conf.study.budget.value, tokens = foreseen_tokens(q);
    bool whole = search_in_brackets(q) || q->rule->makes_plans;
    if (q->conf.study.budget.unit == UNIT_NONE || tokens <= budget)
        return OK;
    if (q->run_tokens > budget)
        return ERR(E_CONFIG,
                   "study.budget is %.4g tokens, and one trial takes %.4g; make the run shorter, "
                   "or raise the budget",
                   budget, q->run_tokens);
    if (!whole)
        return OK; /* it ends when the budget does */
    return ERR(E_CONFIG,
               "study.budget is %.4g tokens, and the search takes %.4g; lower search.trials, make "
               "the run shorter, or raise the budget",
               budget, tokens);
}

static int check_rules(const struct search *q)
{
    const struct config *c = &q->conf;
    if (q->rule == NULL)
        return ERR(E_CONFIG, "search.rule: there is no %s here; choose another rule",
                   c->search.rule);
    if (q->rule->makes_plans && q->prune->judge != NULL)
        return ERR(E_CONFIG,
                   "search.rule %s gives trials up itself; set search.prune=none, or choose "
                   "another rule",
                   q->rule->name);
    if (q->prune->judge != NULL && c->search.milestones == 0)
        return ERR(E_CONFIG,
                   "search.prune %s judges at milestones; set search.milestones to 1 or more",
                   q->prune->name);
    return OK;
}

int search_init(struct search *q, const struct study *s, const struct config *job)
{
    q->conf = *job;
    q->rule = search_rule_find(job->search.rule);
    q->prune = prune_rule_find(job->search.prune);
    q->n = q->n_all = (int)job->search.trials;
    TRY(space_parse(&q->space, job->search.space));
    TRY(check_rules(q));
    TRY(check_values(q));
    TRY(find_length(q));
    q->by_flops = strcmp(job->search.equal_flops, "on") == 0;
    if (q->by_flops)
        TRY(arch_open(&q->arch, &q->space, job));
    if (!q->rule->makes_plans && q->rule->open != NULL)
        TRY(q->rule->open(q));
    TRY(set_milestones(q));
    if (q->rule->makes_plans && q->rule->open != NULL)
        TRY(q->rule->open(q));
    TRY(search_find_past(q, s));
    return check_budget(q);
}
