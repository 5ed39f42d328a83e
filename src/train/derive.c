#include "train/derive.h"
#include "base/err.h"
#include "optim/lrscale.h"
#include <math.h>
#include <string.h>

double derive_step_tokens(const struct config *c)
{
    return (double)c->batch.global * (double)c->batch.seq_len;
}

int64_t derive_n_micro(const struct config *c)
{
    return (c->batch.global + c->batch.micro - 1) / c->batch.micro;
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

int64_t derive_steps(const struct config *c, struct amount a, uint64_t n_samples, int64_t whole)
{
    double steps = 0;
    switch (a.unit) {
    case UNIT_NONE:
        break;
    case UNIT_STEPS:
        steps = a.value;
        break;
    case UNIT_TOKENS:
        steps = a.value / derive_step_tokens(c);
        break;
    case UNIT_SAMPLES:
        steps = a.value / (double)c->batch.global;
        break;
    case UNIT_EPOCHS:
        steps = a.value * (double)n_samples / (double)c->batch.global;
        break;
    case UNIT_PERCENT:
        steps = a.value / 100 * (double)whole;
        break;
    }
    return (int64_t)ceil(steps);
}

static void describe(struct str *text, const struct config *c, const struct schedule *s,
                     int64_t warmup, int64_t n_steps)
{
    if (warmup > 0)
        str_addf(text, "warmup          linear over %lld steps = %.0f tokens\n", (long long)warmup,
                 s->warmup_tokens);
    else
        str_add(text, "warmup          none\n");
    str_addf(text, "schedule        %s to %.3e over %lld steps = %.0f tokens\n", s->rule->name,
             s->peak * s->rule->share(s, 1), (long long)n_steps, s->total_tokens);
    str_addf(text, "first, last     %.3e, %.3e\n", derive_rate(s, c, 0),
             derive_rate(s, c, n_steps - 1));
}

int derive_schedule(struct schedule *s, const struct config *c, uint64_t n_samples, int64_t n_steps,
                    struct str *text)
{
    const struct lrscale_rule *scale;
    TRY(lrscale_find(&scale, c->scaling.rule));
    TRY(schedule_find(&s->rule, c->schedule.name));
    double batch = (double)c->batch.global;
    double base = c->scaling.base_batch > 0 ? (double)c->scaling.base_batch : batch;
    int64_t warmup = derive_steps(c, c->schedule.warmup, n_samples, n_steps);
    if (warmup > n_steps)
        return ERR(E_CONFIG,
                   "schedule.warmup is %lld steps, longer than the run's %lld; shorten it or "
                   "lengthen train.steps",
                   (long long)warmup, (long long)n_steps);
    s->peak = lrscale_peak(scale, c->optimizer.lr, base, batch, text);
    s->final_share = c->schedule.final;
    s->warmup_tokens = (double)warmup * derive_step_tokens(c);
    s->total_tokens = (double)n_steps * derive_step_tokens(c);
    if (text)
        describe(text, c, s, warmup, n_steps);
    return OK;
}

double derive_rate(const struct schedule *s, const struct config *c, int64_t step)
{
    double tokens = derive_step_tokens(c);
    return schedule_rate(s, (double)step * tokens, tokens);
}
