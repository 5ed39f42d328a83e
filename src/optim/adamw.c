#include "optim/rules.h"

#include "par/fold.h"

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

static struct factors factors_of(const struct optim_part *p)
{
    const struct optim_step *s = p->step;
    return (struct factors){
        .g = (float)s->grad_scale,
        .keep = 1,
        .b1 = (float)s->beta1,
        .a1 = (float)(1 - s->beta1),
        .b2 = (float)s->beta2,
        .a2 = (float)(1 - s->beta2),
        .rate = (float)(part_lr(p) / s->bias1),
        .root = (float)(1 / sqrt(s->bias2)),
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

void adamw_run(const struct optim_part *p, double *sum)
{
    struct factors f = factors_of(p);
    (void)sum;
    f.keep = (float)(1 - part_lr(p) * part_decay(p));
    adam(p->w, p->g, p->slot[0], p->slot[1], p->n, f);
}

static void adam_run(const struct optim_part *p, double *sum)
{
    struct factors f = factors_of(p);
    (void)sum;
    f.decay = (float)part_decay(p);
    adam(p->w, p->g, p->slot[0], p->slot[1], p->n, f);
}

/* Where the last step went, by its averages. */
static void direction(float *restrict u, const float *restrict m, const float *restrict v, size_t n,
                      float scale, float root, float eps)
{
    for (size_t i = 0; i < n; i++)
        u[i] = scale * m[i] / (sqrtf(v[i]) * root + eps);
}

/* ⟨gradient, last direction⟩. */
static void measure_turn(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    float u[SHARD_BLOCK];
    if (s->t < 2)
        return;
    direction(u, p->slot[0], p->slot[1], p->n, (float)(1 / s->bias1_before),
              (float)(1 / sqrt(s->bias2_before)), (float)s->eps);
    sum[0] = s->grad_scale * fold_dot(p->g, u, p->n);
}

const struct optim_rule optim_adamw = {
    .name = "adamw",
    .n_slots = 2,
    .n_saved = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS,
    .n_passes = 1,
    .pass = {{.run = adamw_run}},
    .moves = 7,
    .note = "Adam with decoupled weight decay (Loshchilov & Hutter 2019)",
};

const struct optim_rule optim_adam = {
    .name = "adam",
    .n_slots = 2,
    .n_saved = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS,
    .n_passes = 1,
    .pass = {{.run = adam_run}},
    .moves = 7,
    .note = "Adam (Kingma & Ba 2015); decay is part of the gradient",
};

const struct optim_rule optim_adam_hd = {
    .name = "adam_hd",
    .n_slots = 2,
    .n_saved = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS | OPTIM_HYPER,
    .n_passes = 2,
    .pass = {{.run = measure_turn, .n_sums = 1, .join = hyper_join}, {.run = adam_run}},
    .moves = 10,
    .n_scalars = 1,
    .scalar = {"adam_hd.rate"},
    .note = "adam whose rate follows its hypergradient (Baydin et al. 2018)",
};
