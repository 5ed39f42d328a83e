#include "optim/rules.h"

#include "par/fold.h"

#include <math.h>

static void descend(float *restrict w, const float *restrict g, size_t n, float scale, float decay,
                    float lr)
{
    for (size_t i = 0; i < n; i++)
        w[i] -= lr * (g[i] * scale + decay * w[i]);
}

struct momentum {
    float keep, take; /* of the velocity, of the gradient in it */
    float ahead; /* of the velocity in a step that looks ahead; the gradient's part is then 1 */
};

static void roll(float *restrict w, const float *restrict g, float *restrict u, size_t n,
                 float scale, float decay, float lr, struct momentum m)
{
    float own = m.ahead > 0 ? 1 : 0, ahead = m.ahead > 0 ? m.ahead : 1;
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * scale + decay * w[i];
        float ui = m.keep * u[i] + m.take * gi;
        u[i] = ui;
        w[i] -= lr * (own * gi + ahead * ui);
    }
}

static void sgd_run(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    float scale = (float)s->grad_scale, decay = (float)part_decay(p), lr = (float)part_lr(p);
    float mu = (float)s->momentum;
    (void)sum;
    if (p->slot[0] == NULL) {
        descend(p->w, p->g, p->n, scale, decay, lr);
        return;
    }
    struct momentum m = {.keep = s->t > 1 ? mu : 0,
                         .take = s->t > 1 ? (float)(1 - s->dampening) : 1,
                         .ahead = s->nesterov ? mu : 0};
    roll(p->w, p->g, p->slot[0], p->n, scale, decay, lr, m);
}

const struct optim_rule optim_sgd = {
    .name = "sgd",
    .n_slots = 1,
    .n_saved = 1,
    .slot = {"momentum_buffer"},
    .last_is_momentum = true,
    .reads = OPTIM_MOMENTUM | OPTIM_DAMPENING | OPTIM_NESTEROV,
    .n_passes = 1,
    .pass = {{.run = sgd_run}},
    .moves = 5,
    .note = "stochastic gradient descent (Sutskever et al. 2013); decay is part of the gradient",
};

/* ---- hypergradient ---- */

static void measure_turn(const struct optim_part *p, double *sum)
{
    sum[0] = p->step->grad_scale * fold_dot(p->g, p->slot[0], p->n);
}

void hyper_join(struct optim *o, struct optim_step *s, const double *sum)
{
    double lr = s->lr + o->scalar[0] + s->hyper_lr * sum[0];
    lr = fmax(s->lr / s->hyper_cap, fmin(lr, s->lr * s->hyper_cap));
    o->scalar[0] = lr - s->lr;
    o->lr = s->lr = lr;
}

static void descend_and_keep(float *restrict w, const float *restrict g, float *restrict last,
                             size_t n, float scale, float decay, float lr)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * scale;
        last[i] = gi;
        w[i] -= lr * (gi + decay * w[i]);
    }
}

static void sgd_hd_run(const struct optim_part *p, double *sum)
{
    (void)sum;
    descend_and_keep(p->w, p->g, p->slot[0], p->n, (float)p->step->grad_scale, (float)part_decay(p),
                     (float)part_lr(p));
}

const struct optim_rule optim_sgd_hd = {
    .name = "sgd_hd",
    .n_slots = 1,
    .n_saved = 1,
    .slot = {"last_grad"},
    .reads = OPTIM_HYPER,
    .n_passes = 2,
    .pass = {{.run = measure_turn, .n_sums = 1, .join = hyper_join}, {.run = sgd_hd_run}},
    .moves = 6,
    .n_scalars = 1,
    .scalar = {"sgd_hd.rate"},
    .note = "sgd whose rate follows its hypergradient (Baydin et al. 2018)",
};
