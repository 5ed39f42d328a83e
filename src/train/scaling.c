#include "train/scaling.h"

#include "base/err.h"
#include "optim/schedule.h"
#include "train/optimizer.h"

#include <math.h>
#include <string.h>

/* The noise is that between the micro-batches of a step. */
static int check_measured(const struct scaling *g, const struct config *c)
{
    if (!g->rule->per_step)
        return OK;
    if (c->noise.every == 0)
        return ERR(E_CONFIG,
                   "scaling.rule %s goes by the gradient's noise, which noise.every=0 "
                   "does not measure; set noise.every=1",
                   g->rule->name);
    if (c->batch.global <= c->batch.micro)
        return ERR(
            E_CONFIG,
            "scaling.rule %s needs two micro-batches a step to measure the gradient's noise; "
            "lower batch.micro to at most half of batch.global",
            g->rule->name);
    return OK;
}

/* A rule's map of what the schedule sets all the same is not to be judged. */
static struct optim_settings judged(const struct scaling *g)
{
    struct optim_settings s = g->base;
    s.beta1 = g->momentum_scheduled ? 0 : s.beta1;
    return s;
}

/* In a piecewise schedule other pieces leave it alone. */
static bool schedules_momentum(const struct config *c)
{
    return schedule_is(c->schedule.name, "one_cycle") &&
           c->schedule.momentum_low != c->schedule.momentum_high;
}

int derive_scaling(struct scaling *g, const struct config *c)
{
    const struct optim_rule *rule;
    double batch = (double)c->batch.global, base = (double)c->scaling.base_batch;
    TRY(lrscale_find(&g->rule, c->scaling.rule));
    TRY(optim_find(&rule, c->optimizer.name));
    g->base = optimizer_base(c, rule);
    g->job = (struct lrscale_job){.base = base > 0 ? base : batch,
                                  .batch = batch,
                                  .noise_scale = c->scaling.noise_scale,
                                  .adaptive = lrscale_is_adaptive(c->optimizer.name)};
    g->momentum_scheduled = schedules_momentum(c);
    TRY(check_measured(g, c));
    const struct optim_settings s = judged(g);
    return lrscale_check(g->rule, &s, &g->job);
}

void scaling_describe(const struct scaling *g, struct str *text)
{
    const struct optim_settings s = judged(g);
    lrscale_derive(text, g->rule, &s, &g->job);
}

/* What a job sets and a schedule replaces. */
static void warn_of_momentum(const struct scaling *g, const struct config *c, struct str *lines)
{
    const struct {
        const char *key;
        double set;
    } rows[] = {{"beta1", c->optimizer.beta1}, {"momentum", c->optimizer.momentum}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows && g->momentum_scheduled; i++)
        if (rows[i].set > 0)
            str_addf(lines,
                     "optimizer.%s %g is not used: schedule.name one_cycle sets it in each step, "
                     "from schedule.momentum_low (%g) to schedule.momentum_high (%g); leave it "
                     "out, or set the two equal to keep it\n",
                     rows[i].key, rows[i].set, c->schedule.momentum_low, c->schedule.momentum_high);
}

void scaling_warn(const struct scaling *g, const struct config *c, struct str *lines)
{
    const struct optim_settings s = judged(g);
    warn_of_momentum(g, c, lines);
    if (c->scaling.base_batch < 0 && *c->batch.ramp == '\0' && strcmp(g->rule->name, "none") != 0)
        str_addf(lines,
                 "scaling.rule %s changes nothing: scaling.base_batch is not set, so that "
                 "optimizer.lr counts as tuned at batch.global; set it\n",
                 g->rule->name);
    else
        lrscale_warn(lines, g->rule, &s, &g->job);
}

struct optim_settings derive_settings(const struct scaling *g, int64_t batch)
{
    struct lrscale_job job = g->job;
    job.batch = (double)batch;
    struct optim_settings s = lrscale_settings(g->rule, &g->base, &job);
    s.beta1 = g->momentum_scheduled ? g->base.beta1 : s.beta1;
    return s;
}

static bool has_gain(const struct scaling *g, int64_t batch)
{
    return g->rule->per_step && (double)batch > g->job.base;
}

double gain_of(const struct gain *m, const struct scaling *g, int64_t batch)
{
    if (!has_gain(g, batch))
        return 1;
    return adascale_gain(m->trace / g->job.base, m->signal, (double)batch / g->job.base);
}

double gain_share(const struct gain *m, const struct scaling *g, int64_t batch)
{
    if (!has_gain(g, batch))
        return 1;
    return gain_of(m, g, batch) / ((double)batch / g->job.base);
}

double gain_of_rate(const struct gain *m, const struct scaling *g, int64_t batch)
{
    double gain = gain_of(m, g, batch);
    return g->job.adaptive ? sqrt(gain) : gain;
}

void gain_count(struct gain *m, const struct scaling *g, int64_t batch)
{
    double lost = 1 - gain_share(m, g, batch);
    m->lag_steps += lost;
    m->lag_samples += lost * (double)batch;
}
