/* What runs are made of and run on. */
#include "facts_parts.h"

#include "conf/amount.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void make_model(const struct report_run *r, char *cell, size_t n)
{
    const char *preset = r->has_conf ? r->conf.model.preset : "";
    const char *other = r->has_conf && *preset == '\0' ? r->conf.model.path : preset;
    snprintf(cell, n, "%s%s%s",
             *preset != '\0'       ? preset
             : r->model[0] == '\0' ? other
                                   : "",
             *preset != '\0' && r->model[0] != '\0' ? "; " : "", r->model);
}

static void make_params(const struct report_run *r, char *cell, size_t n)
{
    if (r->n_params > 0)
        count_text(cell, n, (double)r->n_params);
}

static void make_start(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_conf && r->conf.model.init[0] != '\0')
        snprintf(cell, n, "%.*s", (int)n - 1, r->conf.model.init);
    else if (r->has_conf)
        snprintf(cell, n, "random weights, seed %lld", (long long)r->conf.run.seed);
}

static void make_data(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_conf)
        snprintf(cell, n, "%.*s", (int)n - 1, r->conf.data.train);
}

static void make_batch(const struct report_run *r, char *cell, size_t n)
{
    char tokens[32];
    if (!r->has_conf)
        return;
    double a_step = (double)r->conf.batch.global * (double)r->conf.batch.seq_len;
    snprintf(cell, n, "%lld sequences of %lld = %s tokens%s%.80s", (long long)r->conf.batch.global,
             (long long)r->conf.batch.seq_len, count_text(tokens, sizeof tokens, a_step),
             r->conf.batch.ramp[0] != '\0' ? "; ramp " : "", r->conf.batch.ramp);
}

static void make_optimizer(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_conf)
        snprintf(cell, n, "%s, rate %.4g, weight decay %.4g, clip %.4g", r->conf.optimizer.name,
                 r->conf.optimizer.lr, r->conf.optimizer.weight_decay, r->conf.optimizer.clip_norm);
}

static void make_schedule(const struct report_run *r, char *cell, size_t n)
{
    char warmup[64];
    if (!r->has_conf)
        return;
    int len = snprintf(cell, n, "%s, warmup %s", r->conf.schedule.name,
                       amount_text(&r->conf.schedule.warmup, warmup, sizeof warmup));
    if (r->conf.schedule.final >= 0) /* else the rule's own */
        snprintf(cell + len, n - (size_t)len, ", last rate %.4g of the peak",
                 r->conf.schedule.final);
}

static void make_scaling(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_conf && strcmp(r->conf.scaling.rule, "none") != 0)
        snprintf(cell, n, "%s from batch %lld", r->conf.scaling.rule,
                 (long long)(r->conf.scaling.base_batch > 0 ? r->conf.scaling.base_batch
                                                            : r->conf.batch.global));
}

static void make_precision(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_conf)
        snprintf(cell, n, "%s, reduction %s", r->conf.numerics.precision, r->conf.parallel.reduce);
}

static void make_ranks(const struct report_run *r, char *cell, size_t n)
{
    int len = snprintf(cell, n, "%lld", (long long)r->ranks.ranks);
    if (r->has_conf && r->conf.parallel.threads > 1)
        snprintf(cell + len, n - (size_t)len, " of %lld threads",
                 (long long)r->conf.parallel.threads);
}

static void make_machine(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_meta)
        snprintf(cell, n, "%s; products by %s", r->meta.cpu, r->meta.blas);
}

static void make_build(const struct report_run *r, char *cell, size_t n)
{
    if (r->has_meta)
        snprintf(cell, n, "%s", r->meta.build);
}

static void make_saved(const struct report_run *r, char *cell, size_t n)
{
    char step[32];
    if (r->has_meta)
        snprintf(cell, n, "step %s, %s", count_text(step, sizeof step, (double)r->meta.step),
                 r->meta.created);
}

static void make_folder(const struct report_run *r, char *cell, size_t n)
{
    size_t len = strlen(r->path);
    snprintf(cell, n, "%s", r->path + (len >= n ? len - n + 1 : 0));
}

int facts_setup(struct facts *f, const struct report_run *runs, int n)
{
    static const struct fact_maker makers[] = {
        {"model", make_model},
        {"parameters", make_params},
        {"start", make_start},
        {"data", make_data},
        {"batch", make_batch},
        {"optimizer", make_optimizer},
        {"schedule", make_schedule},
        {"scaling rule", make_scaling},
        {"precision", make_precision},
        {"ranks", make_ranks},
        {"machine", make_machine},
        {"build", make_build},
        {"newest checkpoint", make_saved},
        {"folder", make_folder},
    };
    return facts_fill(f, makers, sizeof makers / sizeof *makers, runs, n);
}
