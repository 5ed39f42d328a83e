#include "optim/rules.h"

struct factors {
    float g, keep, lr, b1, a1, b2, a2;
};

static void lion(float *restrict w, const float *restrict g, float *restrict m, size_t n,
                 struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g, mi = m[i];
        float u = f.b1 * mi + f.a1 * gi;
        float sign = (float)(u > 0) - (float)(u < 0);
        m[i] = f.b2 * mi + f.a2 * gi;
        w[i] = w[i] * f.keep - f.lr * sign;
    }
}

static void lion_run(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    struct factors f = {.g = (float)s->grad_scale,
                        .keep = (float)(1 - part_lr(p) * part_decay(p)),
                        .lr = (float)part_lr(p),
                        .b1 = (float)s->beta1,
                        .a1 = (float)(1 - s->beta1),
                        .b2 = (float)s->beta2,
                        .a2 = (float)(1 - s->beta2)};
    (void)sum;
    lion(p->w, p->g, p->slot[0], p->n, f);
}

const struct optim_rule optim_lion = {
    .name = "lion",
    .n_slots = 1,
    .n_saved = 1,
    .slot = {"exp_avg"},
    .beta1 = 0.9,
    .beta2 = 0.99,
    .reads = OPTIM_BETA1 | OPTIM_BETA2,
    .n_passes = 1,
    .pass = {{.run = lion_run}},
    .moves = 5,
    .note = "steps by the sign of its momentum; rate a tenth of adamw's (Chen et al. 2023)",
};
