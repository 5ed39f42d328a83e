#include "optim/rules.h"

#include "par/fold.h"

#include <math.h>

static void measure(const struct optim_part *p, double *sum)
{
    double scale = p->step->grad_scale;
    sum[0] = fold_dot(p->w, p->w, p->n);
    sum[1] = scale * scale * fold_dot(p->g, p->g, p->n);
}

/* Tensors without weight decay, the norms, are not adapted. */
static double trust_ratio(const struct optim_part *p)
{
    const struct optim_step *s = p->step;
    double w = sqrt(p->sum[0]), g = sqrt(p->sum[1]);
    if (!p->group->decay || w == 0 || g == 0)
        return 1;
    return s->trust * w / (g + part_decay(p) * w + s->eps);
}

static void roll(float *restrict w, const float *restrict g, float *restrict u, size_t n,
                 float scale, float decay, float lr, float mu)
{
    for (size_t i = 0; i < n; i++) {
        float ui = mu * u[i] + (g[i] * scale + decay * w[i]);
        u[i] = ui;
        w[i] -= lr * ui;
    }
}

static void descend(float *restrict w, const float *restrict g, size_t n, float scale, float decay,
                    float lr)
{
    for (size_t i = 0; i < n; i++)
        w[i] -= lr * (g[i] * scale + decay * w[i]);
}

static void lars_run(const struct optim_part *p, double *sum)
{
    double trust = trust_ratio(p);
    float scale = (float)(p->step->grad_scale * trust), decay = (float)(part_decay(p) * trust);
    (void)sum;
    if (p->slot[0] == NULL)
        descend(p->w, p->g, p->n, scale, decay, (float)part_lr(p));
    else
        roll(p->w, p->g, p->slot[0], p->n, scale, decay, (float)part_lr(p),
             (float)p->step->momentum);
}

const struct optim_rule optim_lars = {
    .name = "lars",
    .n_slots = 1,
    .n_saved = 1,
    .slot = {"momentum_buffer"},
    .last_is_momentum = true,
    .eps = 1e-8,
    .momentum = 0.9,
    .reads = OPTIM_EPS | OPTIM_MOMENTUM | OPTIM_TRUST,
    .n_passes = 2,
    .pass = {{.run = measure, .n_sums = 2, .by_tensor = true}, {.run = lars_run}},
    .moves = 7,
    .note = "sgd whose rate in each matrix follows the norms (You et al. 2017)",
};
