#include "optim/rules.h"

#include <math.h>

/* Factors of one step, rounded once: every element then sees the same. */
struct factors {
    float g;      /* of the summed gradient */
    float keep;   /* of the weight: 1 - lr·λ */
    float decay;  /* of the weight in the gradient: λ where decay is part of it */
    float b1, a1; /* β1, 1 - β1 */
    float b2, a2;
    float rate; /* lr / (1 - β1^t) */
    float root; /* 1 / sqrt(1 - β2^t) */
    float eps;
};

static struct factors factors_of(const struct optim_step *s)
{
    double t = (double)s->t;
    return (struct factors){
        .g = (float)s->grad_scale,
        .keep = 1,
        .b1 = (float)s->beta1,
        .a1 = (float)(1 - s->beta1),
        .b2 = (float)s->beta2,
        .a2 = (float)(1 - s->beta2),
        .rate = (float)(s->lr / (1 - pow(s->beta1, t))),
        .root = (float)(1 / sqrt(1 - pow(s->beta2, t))),
        .eps = (float)s->eps,
    };
}

/* One pass over five arrays; memory is what it waits for. */
static void adam(float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                 size_t n, struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g + f.decay * w[i];
        float mi = f.b1 * m[i] + f.a1 * gi;
        float vi = f.b2 * v[i] + f.a2 * (gi * gi);
        m[i] = mi;
        v[i] = vi;
        w[i] = w[i] * f.keep - f.rate * mi / (sqrtf(vi) * f.root + f.eps);
    }
}

static void adamw_update(float *w, const float *g, float *const slot[], size_t n, bool decay,
                         const struct optim_step *s)
{
    struct factors f = factors_of(s);
    if (decay)
        f.keep = (float)(1 - s->lr * s->weight_decay);
    adam(w, g, slot[0], slot[1], n, f);
}

static void adam_update(float *w, const float *g, float *const slot[], size_t n, bool decay,
                        const struct optim_step *s)
{
    struct factors f = factors_of(s);
    if (decay)
        f.decay = (float)s->weight_decay;
    adam(w, g, slot[0], slot[1], n, f);
}

const struct optim_rule optim_adamw = {
    .name = "adamw",
    .n_slots = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
    .update = adamw_update,
    .note = "Adam with decoupled weight decay (Loshchilov & Hutter 2019)",
};

const struct optim_rule optim_adam = {
    .name = "adam",
    .n_slots = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
    .update = adam_update,
    .note = "Adam (Kingma & Ba 2015); weight decay is part of the gradient",
};
