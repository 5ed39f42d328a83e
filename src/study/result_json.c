#include "study/result_text.h"

#include <math.h>

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static void set(json_t *o, const char *key, double v)
{
    json_object_set_new(o, key, number(v));
}

static void set_count(json_t *o, const char *key, int v)
{
    json_object_set_new(o, key, json_integer(v));
}

static json_t *pair(struct interval i)
{
    json_t *a = json_array();
    json_array_append_new(a, number(i.low));
    json_array_append_new(a, number(i.high));
    return a;
}

static json_t *law_json(const struct rate_law *law)
{
    json_t *o = json_object();
    set(o, "exponent", law->exponent);
    json_object_set_new(o, "exponent_range", pair(law->range));
    set(o, "factor", law->factor);
    set_count(o, "batches", law->n);
    return o;
}

static json_t *fit_json(const struct result_target *t)
{
    static const char *const by[] = {"none", "seeds", "residuals"};
    json_t *o = json_object();
    set(o, "critical_batch", t->fit.batch);
    set(o, "steps_least", t->fit.steps_least);
    set(o, "examples_least", t->fit.examples_least);
    set(o, "residual", t->fit.residual);
    json_object_set_new(o, "critical_batch_range", pair(t->spread.batch));
    json_object_set_new(o, "steps_least_range", pair(t->spread.steps_least));
    json_object_set_new(o, "examples_least_range", pair(t->spread.examples_least));
    json_object_set_new(o, "resampled", json_string(by[t->spread.by]));
    set_count(o, "batches", t->n_fitted);
    json_object_set_new(o, "edges", json_boolean(t->edges));
    return o;
}

static json_t *target_json(const struct result_target *t)
{
    json_t *o = json_object();
    set(o, "loss", t->loss);
    set_count(o, "batches_reached", t->n_reached);
    json_object_set_new(o, "fit", t->fits ? fit_json(t) : json_null());
    json_object_set_new(o, "rate", t->lawful ? law_json(&t->law) : json_null());
    json_object_set_new(o, "rate_below", t->lawful_below ? law_json(&t->law_below) : json_null());
    return o;
}

static json_t *best_json(const struct study_result *r, const struct result_best *b, int k)
{
    static const char *const edge[] = {[BEST_WITHIN] = "within",
                                       [BEST_LOWEST] = "lowest",
                                       [BEST_HIGHEST] = "highest",
                                       [BEST_FEW] = "few",
                                       [BEST_NONE] = "none"};
    json_t *o = json_object();
    set(o, "target", r->target[k].loss);
    set(o, "lr", b->cell >= 0 ? b->rate.lr : NAN);
    set(o, "lr_log_error", b->rate.kind == BEST_WITHIN ? b->rate.error : NAN);
    json_object_set_new(o, "edge", json_string(edge[b->rate.kind]));
    set_count(o, "seeds", b->n_seeds);
    set(o, "steps", b->steps);
    set(o, "steps_fitted", b->fitted);
    set(o, "examples", b->examples);
    set(o, "tokens", b->examples * r->seq_len);
    set(o, "overhead", b->overhead);
    return o;
}

static json_t *cell_json(const struct study_result *r, const struct result_cell *c)
{
    json_t *o = json_object(), *steps = json_array();
    set(o, "lr", c->lr);
    set_count(o, "trials", c->n);
    set_count(o, "diverged", c->n_diverged);
    set_count(o, "failed", c->n_failed);
    set(o, "loss", c->loss);
    for (int k = 0; k < r->n_targets; k++)
        json_array_append_new(steps, number(c->steps[k]));
    json_object_set_new(o, "steps", steps);
    return o;
}

static json_t *batch_json(const struct study_result *r, const struct result_batch *b)
{
    json_t *o = json_object(), *best = json_array(), *cells = json_array();
    set(o, "batch", b->batch);
    set(o, "centre_lr", b->centre);
    set(o, "step_s", b->step_s);
    set(o, "ranks", b->ranks);
    set(o, "tokens_per_s", b->batch * r->seq_len / b->step_s);
    set(o, "noise_scale", b->noise_scale);
    set(o, "spikes", b->spikes);
    set_count(o, "trials", b->n_trials);
    set_count(o, "ended", b->n_ended);
    set_count(o, "diverged", b->n_diverged);
    set_count(o, "failed", b->n_failed);
    set_count(o, "unreached", b->n_unreached);
    for (int k = 0; k < r->n_targets; k++)
        json_array_append_new(best, best_json(r, &b->best[k], k));
    for (int i = b->first; i < b->first + b->n; i++)
        json_array_append_new(cells, cell_json(r, &r->cell[i]));
    json_object_set_new(o, "targets", best);
    json_object_set_new(o, "cells", cells);
    return o;
}

static json_t *way_json(const struct way *w)
{
    json_t *o = json_object();
    set(o, "batch", w->batch);
    set_count(o, "ranks", w->ranks);
    set(o, "steps", w->steps);
    set(o, "step_s", w->step_s);
    set(o, "time_s", w->time_s);
    set(o, "core_hours", w->core_h);
    set(o, "system_efficiency", w->system);
    set(o, "statistical_efficiency", w->statistical);
    set(o, "tokens_per_s", w->tokens_per_s);
    set(o, "goodput", w->goodput);
    json_object_set_new(o, "front", json_boolean(w->front));
    return o;
}

static json_t *advice_json(const struct study_result *r)
{
    const struct advice *a = &r->advice;
    json_t *o = json_object();
    set(o, "target", r->target[r->main].loss);
    set(o, "batch", r->batch[a->batch].batch);
    set(o, "lr", a->lr);
    set(o, "lr_factor", a->lr_factor > 0 ? a->lr_factor : NAN);
    json_object_set_new(o, "rule", *a->rule != '\0' ? json_string(a->rule) : json_null());
    json_object_set_new(o, "ranks", a->way >= 0 ? json_integer(r->way[a->way].ranks) : json_null());
    set(o, "steps", r->batch[a->batch].best[r->main].steps);
    json_object_set_new(o, "steps_range", pair(a->steps));
    set(o, "hours", a->way >= 0 ? r->way[a->way].time_s / 3600 : NAN);
    json_object_set_new(o, "hours_range", pair(a->hours));
    json_object_set_new(o, "sentence", json_string(r->sentence.s));
    return o;
}

json_t *result_json(const struct study_result *r)
{
    json_t *o = json_object(), *targets = json_array(), *batches = json_array();
    json_t *ways = json_array();
    for (int k = 0; k < r->n_targets; k++)
        json_array_append_new(targets, target_json(&r->target[k]));
    for (int i = 0; i < r->n_batches; i++)
        json_array_append_new(batches, batch_json(r, &r->batch[i]));
    for (int i = 0; i < r->n_ways; i++)
        json_array_append_new(ways, way_json(&r->way[i]));
    json_object_set_new(o, "targets", targets);
    json_object_set_new(o, "batches", batches);
    json_object_set_new(o, "ways", ways);
    json_object_set_new(o, "advice", r->advice.batch >= 0 ? advice_json(r) : json_null());
    json_object_set_new(o, "notes", json_string(r->notes.len > 0 ? r->notes.s : ""));
    return o;
}
