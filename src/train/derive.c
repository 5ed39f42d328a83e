#include "train/derive.h"
#include "base/err.h"
#include <math.h>
#include <string.h>

/* What a sum of gains may lack of a whole step by rounding. */
static const double SUM_ROUNDING = 1e-9;

double derive_step_tokens(const struct config *c)
{
    return (double)c->batch.global * (double)c->batch.seq_len;
}

int64_t derive_micros(const struct config *c, int64_t batch)
{
    return (batch + c->batch.micro - 1) / c->batch.micro;
}

int64_t derive_n_micro(const struct config *c)
{
    return derive_micros(c, c->batch.global);
}

struct model_options derive_model(const struct config *c)
{
    const char *how = c->memory.recompute;
    return (struct model_options){
        .training = true,
        .products = strcmp(c->numerics.precision, "bf16") == 0 ? BF16 : F32,
        .recompute = strcmp(how, "full") == 0        ? RECOMPUTE_FULL
                     : strcmp(how, "selective") == 0 ? RECOMPUTE_SELECTIVE
                                                     : RECOMPUTE_NONE,
        .also = {.smoothing = (float)c->regularize.label_smoothing,
                 .z = (float)c->regularize.z_loss},
        .dropout = c->regularize.dropout,
        .seed = (uint64_t)c->run.seed,
    };
}

/* ---- length and batches ---- */

/* Of an amount that counts what is consumed; in an epoch each sequence once. */
static double sequences(const struct course *k, const struct config *c, struct amount a)
{
    switch (a.unit) {
    case UNIT_TOKENS:
        return a.value / (double)c->batch.seq_len;
    case UNIT_SAMPLES:
        return a.value;
    case UNIT_EPOCHS:
        return a.value * (double)k->n_samples;
    case UNIT_PERCENT:
        return a.value / 100 * (double)course_at(k, k->n_steps).samples;
    default:
        return 0;
    }
}

int64_t course_steps(const struct course *k, const struct config *c, struct amount a)
{
    if (a.unit == UNIT_STEPS)
        return (int64_t)ceil(a.value);
    if (a.unit == UNIT_PERCENT && k->ramp.n == 1)
        return (int64_t)ceil(a.value / 100 * (double)k->n_steps);
    double wanted = sequences(k, c, a);
    if (wanted <= (double)k->from.samples)
        return ramp_steps(&k->ramp, (struct ramp_at){0, 0}, wanted);
    return k->from.step + ramp_steps(&k->ramp, k->from, wanted);
}

int derive_course(struct course *k, const struct config *c, uint64_t n_samples, struct ramp_at from)
{
    *k = (struct course){.n_samples = n_samples, .from = from};
    TRY(ramp_init(&k->ramp, c));
    k->n_steps = course_steps(k, c, c->train.length);
    return OK;
}

struct ramp_at course_at(const struct course *k, int64_t step)
{
    static const struct ramp_at start = {0, 0};
    if (step >= k->from.step)
        return ramp_walk(&k->ramp, k->from, step - k->from.step);
    /* Stretched to meet what is done, so that it does not fall. */
    struct ramp_at at = ramp_walk(&k->ramp, start, step);
    double met = (double)ramp_walk(&k->ramp, start, k->from.step).samples;
    at.samples = (int64_t)((double)at.samples / met * (double)k->from.samples);
    return at;
}

struct ramp_at course_next(const struct course *k, struct ramp_at at)
{
    int64_t n = ramp_left(&k->ramp, at), left = k->n_steps - at.step;
    return ramp_walk(&k->ramp, at, n < left ? n : left);
}

static char *tokens_text(char *buf, size_t n, const struct config *c, struct ramp_at at)
{
    return fmt_si(buf, n, (double)at.samples * (double)c->batch.seq_len);
}

void course_describe(const struct course *k, const struct config *c, const struct scaling *g,
                     struct str *text)
{
    char from[32];
    struct ramp_at at = k->from, next;
    double kappa = (double)c->batch.global / g->job.base;
    if (g->rule->per_step && kappa > 1)
        str_addf(text, "steps           %lld at a gain of %.2f, up to %.0f at a gain of 1\n",
                 (long long)k->n_steps, kappa,
                 ceil((double)course_at(k, k->n_steps).samples / g->job.base));
    if (k->ramp.n == 1 || at.step >= k->n_steps)
        return;
    str_addf(text, "%-15s %10s %8s %10s %14s %12s\n", "batch ramp", "from token", "batch", "steps",
             "micro-batches", "peak rate");
    for (; at.step < k->n_steps; at = next) {
        int64_t batch = ramp_batch(&k->ramp, at);
        next = course_next(k, at);
        str_addf(text, "%-15s %10s %8lld %10lld %14lld %12.3e\n", "",
                 tokens_text(from, sizeof from, c, at), (long long)batch,
                 (long long)(next.step - at.step), (long long)derive_micros(c, batch),
                 derive_settings(g, batch).lr);
    }
}

void course_warn(const struct course *k, const struct config *c, struct str *lines)
{
    char end[32];
    struct ramp_at done = course_at(k, k->n_steps);
    int reached = k->n_steps > 0 ? ramp_stage_at(&k->ramp, course_at(k, k->n_steps - 1)) : 0;
    if (reached < k->ramp.n - 1)
        str_addf(lines,
                 "batch.ramp ends after the run: %lld sequences a step are never reached in %s "
                 "tokens; shorten batch.ramp or lengthen the run\n",
                 (long long)c->batch.global, tokens_text(end, sizeof end, c, done));
}

void course_warn_idle(const struct course *k, const struct config *c, int64_t ranks,
                      struct str *lines)
{
    int64_t n = derive_micros(c, ramp_batch(&k->ramp, k->from));
    if (k->ramp.n > 1 && n < ranks && derive_n_micro(c) >= ranks)
        str_addf(
            lines,
            "batch.ramp has %lld micro-batch%s a step at first: %lld of %lld ranks wait until "
            "it has grown; lower batch.micro, or start with fewer ranks and resume with more\n",
            (long long)n, n == 1 ? "" : "es", (long long)(ranks - n), (long long)ranks);
}

/* ---- schedule ---- */

/* Epochs are counted in samples, so that each step's part is a whole number. */
enum unit derive_clock_unit(const struct config *c)
{
    if (strcmp(c->schedule.clock, "steps") == 0)
        return UNIT_STEPS;
    bool samples =
        strcmp(c->schedule.clock, "samples") == 0 || strcmp(c->schedule.clock, "epochs") == 0;
    return samples ? UNIT_SAMPLES : UNIT_TOKENS;
}

static double show(const struct config *c, double steps, double samples)
{
    switch (derive_clock_unit(c)) {
    case UNIT_STEPS:
        return steps;
    case UNIT_SAMPLES:
        return samples;
    default:
        return samples * (double)c->batch.seq_len;
    }
}

double derive_clock(const struct config *c, const struct course *k, int64_t step)
{
    return show(c, (double)step, (double)course_at(k, step).samples);
}

double derive_now(const struct config *c, struct ramp_at at, const struct gain *gain)
{
    return show(c, (double)at.step - gain->lag_steps, (double)at.samples - gain->lag_samples);
}

struct optim_settings derive_step(const struct schedule *s, const struct config *c,
                                  const struct course *k, const struct scaling *g,
                                  struct ramp_at at, const struct gain *gain)
{
    int64_t batch = ramp_batch(&k->ramp, at);
    double share = gain_share(gain, g, batch);
    struct optim_settings set = derive_settings(g, batch);
    struct schedule now = *s;
    now.peak = set.lr * gain_of_rate(gain, g, batch);
    struct schedule_point point =
        schedule_at(&now, derive_now(c, at, gain), show(c, share, share * (double)batch));
    set.lr = point.rate;
    if (!isnan(point.momentum)) { /* whichever the optimizer has */
        set.beta1 = set.beta1 > 0 ? point.momentum : 0;
        set.momentum = set.momentum > 0 ? point.momentum : 0;
    }
    return set;
}

double derive_rate(const struct schedule *s, const struct config *c, const struct course *k,
                   const struct scaling *g, int64_t step)
{
    static const struct gain unmeasured;
    return derive_step(s, c, k, g, course_at(k, step), &unmeasured).lr;
}

int64_t derive_end(const struct course *k, const struct scaling *g, struct ramp_at at,
                   const struct gain *gain)
{
    int64_t batch = ramp_batch(&k->ramp, at);
    double all = (double)course_at(k, k->n_steps).samples;
    double left = all - ((double)at.samples - gain->lag_samples);
    if (!g->rule->per_step)
        return k->n_steps;
    double steps = fmax(left, 0) / (gain_share(gain, g, batch) * (double)batch);
    return at.step + (int64_t)ceil(steps - SUM_ROUNDING);
}
