#include "optim/rules.h"

#include <math.h>

static void adagrad(float *restrict w, const float *restrict g, float *restrict sum, size_t n,
                    float scale, float decay, float lr, float eps)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * scale + decay * w[i];
        float si = sum[i] + gi * gi;
        sum[i] = si;
        w[i] -= lr * gi / (sqrtf(si) + eps);
    }
}

static void adagrad_run(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    (void)sum;
    adagrad(p->w, p->g, p->slot[0], p->n, (float)s->grad_scale, (float)part_decay(p),
            (float)part_lr(p), (float)s->eps);
}

const struct optim_rule optim_adagrad = {
    .name = "adagrad",
    .n_slots = 1,
    .n_saved = 1,
    .slot = {"sum"},
    .eps = 1e-10,
    .reads = OPTIM_EPS,
    .n_passes = 1,
    .pass = {{.run = adagrad_run}},
    .moves = 5,
    .note = "divides by the root of all squared gradients so far (Duchi et al. 2011)",
};
