/* carat study JOB --rules */
#include "study_modes.h"

#include "base/err.h"
#include "base/log.h"
#include "study/rules.h"

#include <math.h>
#include <stdio.h>

static void foresee(const struct study_view *v, struct foresight *f)
{
    const struct rules_setup *s = v->self;
    struct rules_facts facts;
    if (rules_facts(&facts, s, &v->history) != OK)
        err_clear();
    f->trials = facts.n;
    f->tokens = f->most_tokens = facts.n * s->run_tokens;
    snprintf(
        f->what, sizeof f->what,
        "%d rules at %d batches, against tuned rates of each; up to %d trials where best rates "
        "are at edges",
        s->n_rules, s->n_batches, facts.n_most);
}

static int conclude(const struct study_view *v)
{
    static struct rules_result r;
    struct str text = {0};
    TRY(rules_judge(&r, v->self, &v->history));
    rules_show(&text, &r);
    log_info("\n%.*s", (int)text.len - 1, text.s);
    str_release(&text);
    return OK;
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *batch_json(const struct rules_batch *b, const struct rules_setup *s)
{
    json_t *rules = json_object();
    for (int i = 0; i < s->n_rules; i++) {
        const struct rules_cell *c = &b->cell[i];
        json_object_set_new(rules, s->rule[i]->name,
                            json_pack("{s:o, s:o, s:o, s:b, s:b, s:b}", "lr", number(c->lr), "loss",
                                      number(c->loss), "excess", number(c->excess), "holds",
                                      c->holds, "diverged", isinf(c->loss) != 0, "impossible",
                                      c->impossible));
    }
    bool known = b->tuned.kind != BEST_NONE;
    return json_pack("{s:f, s:o, s:o, s:b, s:o}", "batch", b->batch, "best_lr",
                     known ? json_real(b->tuned.lr) : json_null(), "tuned_loss",
                     known ? json_real(b->tuned.score) : json_null(), "edge",
                     b->tuned.kind != BEST_WITHIN, "rules", rules);
}

static int add_json(const struct study_view *v, json_t *root)
{
    static struct rules_result r;
    json_t *batches = json_array(), *ranges = json_object();
    TRY(rules_judge(&r, v->self, &v->history));
    for (int i = 0; i < r.setup->n_batches; i++)
        json_array_append_new(batches, batch_json(&r.batch[i], r.setup));
    for (int i = 0; i < r.setup->n_rules; i++)
        json_object_set_new(ranges, r.setup->rule[i]->name,
                            json_pack("{s:f, s:f, s:o}", "low", r.range[i].low, "high",
                                      r.range[i].high, "mean_excess", number(r.range[i].excess)));
    json_object_set_new(root, "batches", batches);
    json_object_set_new(root, "holds", ranges);
    json_object_set_new(root, "exponent", number(r.exponent));
    json_object_set_new(root, "rule",
                        r.best >= 0 ? json_string(r.setup->rule[r.best]->name) : json_null());
    return OK;
}

/* The rule that holds widest, from the base's best rate. */
static const struct trial_plan *choice(const struct study_view *v)
{
    static struct setting set[3] = {
        {.key = "optimizer.lr"}, {.key = "scaling.rule"}, {.key = "scaling.base_batch"}};
    static const struct trial_plan plan = {.set = set, .n_set = 3};
    static struct rules_result r;
    if (rules_judge(&r, v->self, &v->history) != OK || r.best < 0)
        return NULL;
    const struct rules_batch *base = &r.batch[r.setup->base];
    snprintf(set[0].value, sizeof set[0].value, "%.8g", base->cell[r.best].lr);
    snprintf(set[1].value, sizeof set[1].value, "%s", r.setup->rule[r.best]->name);
    snprintf(set[2].value, sizeof set[2].value, "%.0f", base->batch);
    return &plan;
}

const struct study_command STUDY_RULES = {.name = "rules",
                                          .planner = &PLANNER_RULES,
                                          .foresee = foresee,
                                          .conclude = conclude,
                                          .json = add_json,
                                          .choice = choice};
