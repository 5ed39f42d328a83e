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

int derive_schedule(struct schedule *s, const struct config *c, uint64_t n_samples, int64_t n_steps,
                    struct str *text)
{
    const struct lrscale_rule *scale;
    TRY(lrscale_find(&scale, c->scaling.rule));
    double batch = (double)c->batch.global;
    double base = c->scaling.base_batch > 0 ? (double)c->scaling.base_batch : batch;
    memset(s, 0, sizeof *s);
    s->peak = lrscale_peak(scale, c->optimizer.lr, base, batch, text);
    return derive_shape(s, c, n_samples, n_steps, text);
}

struct schedule_point derive_point(const struct schedule *s, const struct config *c, int64_t step)
{
    double at = derive_clock(c, step);
    return schedule_at(s, at, derive_clock(c, step + 1) - at);
}

double derive_rate(const struct schedule *s, const struct config *c, int64_t step)
{
    return derive_point(s, c, step).rate;
}
