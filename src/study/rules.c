/* What a test of scaling rules says. */
#include "rules.h"

#include "base/err.h"
#include "base/mem.h"
#include "study/range_curve.h"

#include <math.h>
#include <stdio.h>

static void judge_cell(struct rules_cell *cell, const struct rules_result *r,
                       const struct rules_batch *b, int rule, const struct rules_list *l,
                       const struct history *h)
{
    const struct rules_setup *s = r->setup;
    struct optim_settings o;
    bool base = b->batch == s->batch[s->base], alone = rules_rate_alone(s->rule[rule]);
    *cell = (struct rules_cell){.lr = NAN, .loss = NAN, .excess = NAN};
    if (isnan(l->base_lr))
        return;
    cell->impossible = !rules_settings(&o, s, s->rule[rule], l->base_lr, b->batch);
    if (cell->impossible)
        return;
    cell->lr = o.lr;
    /* At the base every rule leaves the settings as they are. */
    int i = alone || base ? rules_find(l, NULL, b->batch, base ? l->base_lr : o.lr)
                          : rules_find(l, s->rule[rule], b->batch, l->base_lr);
    cell->loss = rules_loss(h, i);
    if (b->tuned.kind != BEST_NONE)
        cell->excess = cell->loss - b->tuned.score;
    cell->holds = cell->excess <= s->conf.study.harm;
}

static int judge_batch(struct rules_result *r, int at, const struct rules_list *l,
                       const struct history *h)
{
    struct rules_batch *b = &r->batch[at];
    struct rate_score *x;
    *b = (struct rules_batch){.batch = r->setup->batch[at]};
    TRY(mem_alloc(&x, (size_t)l->n, sizeof *x, "rates of a batch"));
    b->tuned = best_rate_of(x, rules_scores(x, l, h, b->batch));
    mem_free(x);
    for (int i = 0; i < l->n; i++) {
        bool here = i < h->n && l->trial[i].batch == b->batch;
        b->n_trials += here;
        b->n_diverged += here && h->trial[i].state == TRIAL_DIVERGED;
    }
    for (int rule = 0; rule < r->setup->n_rules; rule++)
        judge_cell(&b->cell[rule], r, b, rule, l, h);
    return OK;
}

static void judge_range(struct rules_range *range, const struct rules_result *r, int rule)
{
    const struct rules_setup *s = r->setup;
    int low = s->base, high = low, known = 0;
    double sum = 0;
    while (low > 0 && r->batch[low - 1].cell[rule].holds)
        low--;
    while (high + 1 < s->n_batches && r->batch[high + 1].cell[rule].holds)
        high++;
    for (int i = 0; i < s->n_batches; i++)
        if (i != s->base && isfinite(r->batch[i].cell[rule].excess)) {
            sum += r->batch[i].cell[rule].excess;
            known++;
        }
    *range = (struct rules_range){.low = s->batch[low],
                                  .high = s->batch[high],
                                  .n = high - low,
                                  .excess = known > 0 ? sum / known : NAN};
}

static bool wider(const struct rules_range *a, const struct rules_range *b)
{
    return a->n != b->n ? a->n > b->n : a->excess < b->excess;
}

static void find_exponent(struct rules_result *r)
{
    double batch[RULES_MOST_BATCHES], lr[RULES_MOST_BATCHES];
    for (int i = 0; i < r->setup->n_batches; i++) {
        batch[i] = r->batch[i].batch;
        lr[i] = r->batch[i].tuned.kind == BEST_WITHIN ? r->batch[i].tuned.lr : NAN;
    }
    r->exponent = range_exponent(batch, lr, r->setup->n_batches);
}

int rules_judge(struct rules_result *r, const struct rules_setup *s, const struct history *h)
{
    struct rules_list l;
    r->setup = s;
    r->best = -1;
    int rc = rules_lay_out(&l, s, h);
    for (int i = 0; i < s->n_batches && rc == OK; i++)
        rc = judge_batch(r, i, &l, h);
    for (int i = 0; i < s->n_rules && rc == OK; i++) {
        judge_range(&r->range[i], r, i);
        if (r->range[i].n > 0 && (r->best < 0 || wider(&r->range[i], &r->range[r->best])))
            r->best = i;
    }
    r->complete = rc == OK && l.complete;
    mem_free(l.trial);
    if (rc == OK)
        find_exponent(r);
    return rc;
}

/* ---- text ---- */

static void show_head(struct str *text, const struct rules_setup *s)
{
    char tokens[32];
    str_addf(text,
             "losses after %s tokens; base batch %.0f; a rule holds within %g of the tuned rate\n",
             fmt_si(tokens, sizeof tokens, s->run_tokens), s->batch[s->base], s->conf.study.harm);
    str_addf(text, "%8s %10s %10s", "batch", "best lr", "tuned");
    for (int i = 0; i < s->n_rules; i++)
        str_addf(text, " %12s", s->rule[i]->name);
    str_add(text, "\n");
}

static void show_cell(struct str *text, const struct rules_cell *c)
{
    if (c->impossible)
        str_addf(text, " %12s", "impossible");
    else if (isnan(c->loss))
        str_addf(text, " %12s", "-");
    else if (isinf(c->loss))
        str_addf(text, " %12s", "diverged");
    else
        str_addf(text, " %10.4f %s", c->loss, c->holds ? " " : "!");
}

static void show_batch(struct str *text, const struct rules_batch *b, int n_rules)
{
    static const char *const edge[] = {[BEST_LOWEST] = "<", [BEST_HIGHEST] = ">", [BEST_FEW] = "?"};
    str_addf(text, "%8.0f", b->batch);
    if (b->tuned.kind == BEST_NONE)
        str_addf(text, " %10s %10s", "-", "-");
    else
        str_addf(text, " %1s%9.3g %10.4f", b->tuned.kind == BEST_WITHIN ? "" : edge[b->tuned.kind],
                 b->tuned.lr, b->tuned.score);
    for (int i = 0; i < n_rules; i++)
        show_cell(text, &b->cell[i]);
    str_add(text, "\n");
}

/* "sqrt holds from 4 to 64 (all that was tried)". */
static void show_range(struct str *text, const struct rules_result *r, int rule)
{
    const struct rules_setup *s = r->setup;
    const struct rules_range *g = &r->range[rule];
    if (g->n == 0)
        str_addf(text, "%s holds at no batch but the base", s->rule[rule]->name);
    else
        str_addf(text, "%s holds from %.0f to %.0f", s->rule[rule]->name, g->low, g->high);
    if (g->n == s->n_batches - 1)
        str_add(text, " (all that was tried)");
}

static void show_notes(struct str *text, const struct rules_result *r)
{
    for (int i = 0; i < r->setup->n_batches; i++) {
        const struct rules_batch *b = &r->batch[i];
        if (b->tuned.kind != BEST_WITHIN && best_rate_why(b->tuned.kind) != NULL)
            str_addf(text, "note            batch %.0f: %s\n", b->batch,
                     best_rate_why(b->tuned.kind));
    }
}

void rules_show(struct str *text, const struct rules_result *r)
{
    show_head(text, r->setup);
    for (int i = 0; i < r->setup->n_batches; i++)
        show_batch(text, &r->batch[i], r->setup->n_rules);
    show_notes(text, r);
    if (isfinite(r->exponent))
        str_addf(text, "best rates      grow as B^%.2f\n", r->exponent);
    str_add(text, "rules           ");
    for (int i = 0; i < r->setup->n_rules; i++) {
        str_add(text, i > 0 ? "; " : "");
        show_range(text, r, i);
    }
    str_addf(text, "\nadvice          %s", r->complete ? "" : "so far: ");
    if (r->best >= 0)
        str_addf(text, "scaling.rule=%s scaling.base_batch=%.0f\n", r->setup->rule[r->best]->name,
                 r->setup->batch[r->setup->base]);
    else
        str_add(text, "none of the rules; tune the rate at each batch (`carat study JOB`)\n");
}
