#include "optim/rules.h"

#include <math.h>

struct factors {
    float g, decay, lr, keep, take, eps, mu;
};

static void plain(float *restrict w, const float *restrict g, float *restrict v, size_t n,
                  struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g + f.decay * w[i];
        float vi = f.keep * v[i] + f.take * (gi * gi);
        v[i] = vi;
        w[i] -= f.lr * gi / (sqrtf(vi) + f.eps);
    }
}

static void rolling(float *restrict w, const float *restrict g, float *restrict v,
                    float *restrict u, size_t n, struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g + f.decay * w[i];
        float vi = f.keep * v[i] + f.take * (gi * gi);
        float ui = f.mu * u[i] + gi / (sqrtf(vi) + f.eps);
        v[i] = vi;
        u[i] = ui;
        w[i] -= f.lr * ui;
    }
}

static void rmsprop_run(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    struct factors f = {.g = (float)s->grad_scale,
                        .decay = (float)part_decay(p),
                        .lr = (float)part_lr(p),
                        .keep = (float)s->beta2,
                        .take = (float)(1 - s->beta2),
                        .eps = (float)s->eps,
                        .mu = (float)s->momentum};
    (void)sum;
    if (p->slot[1] == NULL)
        plain(p->w, p->g, p->slot[0], p->n, f);
    else
        rolling(p->w, p->g, p->slot[0], p->slot[1], p->n, f);
}

const struct optim_rule optim_rmsprop = {
    .name = "rmsprop",
    .n_slots = 2,
    .n_saved = 2,
    .slot = {"square_avg", "momentum_buffer"},
    .last_is_momentum = true,
    .beta2 = 0.99,
    .eps = 1e-8,
    .reads = OPTIM_BETA2 | OPTIM_EPS | OPTIM_MOMENTUM,
    .n_passes = 1,
    .pass = {{.run = rmsprop_run}},
    .moves = 7,
    .note = "divides by the root of the averaged squared gradient (Tieleman & Hinton 2012)",
};
