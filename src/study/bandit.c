/* The rate by trial on the way: in each generation one run goes on, and two branch off from it at
 * half and at twice its rate; at the next milestone the best of the three goes on. With two
 * branches beside it the whole takes three times the tokens of a plain run. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "study/search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ARMS = 3, BRANCHES = ARMS - 1, WHY_BYTES = 256 };

static const struct arm {
    double factor;
    const char *role;
} ARM[ARMS] = {{1, "bandit: as before"}, {0.5, "bandit: half"}, {2, "bandit: twice"}};

/* Trials 0 to 2 are the first generation; from then on each has two. */
static int generation_of(int i)
{
    return i < ARMS ? 0 : (i - ARMS) / BRANCHES + 1;
}

static int arm_of(int i)
{
    return i < ARMS ? i : 1 + (i - ARMS) % BRANCHES;
}

static int first_of(int generation)
{
    return generation == 0 ? 0 : ARMS + (generation - 1) * BRANCHES;
}

static int bandit_open(struct search *q)
{
    const struct axis *a = &q->space.axis[0];
    double lr = q->conf.optimizer.lr;
    if (q->space.n != 1 || strcmp(a->key->name, "optimizer.lr") != 0 || a->choice)
        return ERR(E_CONFIG, "search.rule bandit varies the rate alone, within two ends; set "
                             "search.space=\"optimizer.lr log 1e-4 1e-1\"");
    if (!(lr >= a->low && lr <= a->high))
        return ERR(E_CONFIG,
                   "search.rule bandit begins at optimizer.lr, %g, which is outside of "
                   "search.space, %g to %g; change either",
                   lr, a->low, a->high);
    if (q->n_milestones < 1)
        return ERR(E_CONFIG, "search.rule bandit branches at milestones; set search.milestones to "
                             "1 or more");
    q->n = ARMS;
    q->n_all = first_of(q->n_milestones + 1);
    return OK;
}

/* Its loss at the search's milestone g, from 0. */
static double value_at(const struct history *h, int i, int g)
{
    return trial_value_at(&h->trial[i], g - generation_of(i));
}

static bool settled(const struct history *h, int i, int g)
{
    return i < h->n && trial_settled(&h->trial[i], g - generation_of(i));
}

/* Who goes on past milestone g; -1: nobody, all diverged. *known: all have come there. */
static int winner(const struct history *h, int g, bool *known)
{
    int best = -1;
    *known = true;
    for (int x = 0; x <= g && *known && (x == 0 || best >= 0); x++) {
        int first = first_of(x), n = first_of(x + 1) - first, before = best;
        *known = before < 0 || settled(h, before, x);
        if (before >= 0 && *known && !isfinite(value_at(h, before, x)))
            best = -1;
        for (int i = first; i < first + n && *known; i++) {
            *known = settled(h, i, x);
            double v = *known ? value_at(h, i, x) : INFINITY;
            if (isfinite(v) && (best < 0 || v < value_at(h, best, x)))
                best = i;
        }
    }
    return best;
}

static double rate_of(const struct search *q, const struct trial_plan *plan)
{
    double point[SPACE_MAX_AXES];
    return space_read(&q->space, plan, point) ? point[0] : NAN;
}

static int set_rate(const struct search *q, double from, int arm, struct trial_plan *plan)
{
    const struct axis *a = &q->space.axis[0];
    double lr = fmin(fmax(from * ARM[arm].factor, a->low), a->high);
    snprintf(plan->role, sizeof plan->role, "%s", ARM[arm].role);
    return space_write(&q->space, &lr, plan);
}

static int bandit_propose(const struct search *q, const struct history *h, struct trial_plan *plan,
                          enum answer *answer)
{
    bool known;
    int g = generation_of(h->n);
    if (g == 0)
        return set_rate(q, q->conf.optimizer.lr, arm_of(h->n), plan);
    int from = winner(h, g - 1, &known);
    *answer = !known ? ANSWER_WAIT : from < 0 ? ANSWER_STOP : ANSWER_GO;
    if (*answer != ANSWER_GO)
        return OK;
    plan->parent = h->trial[from].number;
    plan->parent_tokens = q->milestone[g - 1];
    plan->n_milestones = q->n_milestones - g;
    memmove(plan->milestones, q->milestone + g,
            (size_t)plan->n_milestones * sizeof *plan->milestones);
    return set_rate(q, rate_of(q, &h->trial[from].plan), arm_of(h->n), plan);
}

static int bandit_judge(const struct search *q, const struct history *h, int i, int k,
                        enum answer *answer, char *why)
{
    bool known;
    int g = generation_of(i) + k, best = winner(h, g, &known);
    *answer = !known ? ANSWER_WAIT : best == i ? ANSWER_GO : ANSWER_STOP;
    if (*answer == ANSWER_STOP && best >= 0)
        snprintf(why, WHY_BYTES,
                 "its loss at milestone %d, %.4g, is above the %.4g of trial %d, at rate %.4g",
                 g + 1, value_at(h, i, g), value_at(h, best, g), best,
                 rate_of(q, &h->trial[best].plan));
    else if (*answer == ANSWER_STOP)
        snprintf(why, WHY_BYTES, "no trial has a loss at milestone %d", g + 1);
    return OK;
}

/* The rates on the way to trial i, the first one first. */
static void add_path(const struct search *q, const struct history *h, int i, struct str *text)
{
    if (h->trial[i].plan.parent >= 0) {
        add_path(q, h, h->trial[i].plan.parent, text);
        str_add(text, " → ");
    }
    str_addf(text, "%.4g", rate_of(q, &h->trial[i].plan));
}

/* What the branches cost. */
static void bandit_remark(const struct search *q, const struct history *h, int best,
                          struct str *text)
{
    double spent = 0;
    char of[32], plain[32];
    for (int i = 0; i < h->n; i++) {
        const struct trial *t = &h->trial[i];
        spent += fmax(t->tokens - (t->plan.parent >= 0 ? t->plan.parent_tokens : 0), 0);
    }
    if (best >= 0) {
        str_add(text, ", rates ");
        add_path(q, h, best, text);
    }
    str_addf(text, "; %s tokens spent, %.2f times the %s of a plain run",
             fmt_si(of, sizeof of, spent), spent / q->run_tokens,
             fmt_si(plain, sizeof plain, q->run_tokens));
}

const struct search_rule SEARCH_BANDIT = {.name = "bandit",
                                          .learns = true,
                                          .makes_plans = true,
                                          .open = bandit_open,
                                          .propose = bandit_propose,
                                          .judge = bandit_judge,
                                          .remark = bandit_remark};
