#include "optim/rules.h"

#include "par/fold.h"

#include <math.h>

struct factors {
    float g, b1, a1, b2, a2;
    float scale, root, eps; /* of the averages in the direction */
    float decay;
};

static struct factors factors_of(const struct optim_part *p)
{
    const struct optim_step *s = p->step;
    return (struct factors){
        .g = (float)s->grad_scale,
        .b1 = (float)s->beta1,
        .a1 = (float)(1 - s->beta1),
        .b2 = (float)s->beta2,
        .a2 = (float)(1 - s->beta2),
        .scale = (float)(1 / s->bias1),
        .root = (float)(1 / sqrt(s->bias2)),
        .eps = (float)s->eps,
        .decay = (float)part_decay(p),
    };
}

static void average(const float *restrict g, float *restrict m, float *restrict v, size_t n,
                    struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g;
        m[i] = f.b1 * m[i] + f.a1 * gi;
        v[i] = f.b2 * v[i] + f.a2 * (gi * gi);
    }
}

static inline float direction(float w, float m, float v, struct factors f)
{
    return f.scale * m / (sqrtf(v) * f.root + f.eps) + f.decay * w;
}

static void directions(float *restrict u, const float *restrict w, const float *restrict m,
                       const float *restrict v, size_t n, struct factors f)
{
    for (size_t i = 0; i < n; i++)
        u[i] = direction(w[i], m[i], v[i], f);
}

/* Floats of five arrays that the first-level cache holds: each is gone over several times. */
enum { TILE = 1024 };

static void measure(const struct optim_part *p, double *sum)
{
    struct factors f = factors_of(p);
    float u[TILE];
    for (size_t at = 0, n; at < p->n; at += n) {
        float *w = p->w + at, *m = p->slot[0] + at, *v = p->slot[1] + at;
        n = p->n - at < TILE ? p->n - at : TILE;
        average(p->g + at, m, v, n, f);
        directions(u, w, m, v, n, f);
        sum[0] += fold_dot(w, w, n);
        sum[1] += fold_dot(u, u, n);
    }
}

static void descend(float *restrict w, const float *restrict m, const float *restrict v, size_t n,
                    float lr, struct factors f)
{
    for (size_t i = 0; i < n; i++)
        w[i] -= lr * direction(w[i], m[i], v[i], f);
}

/* Tensors without weight decay, the norms, are not adapted. */
static void lamb_run(const struct optim_part *p, double *sum)
{
    double w = sqrt(p->sum[0]), u = sqrt(p->sum[1]);
    double trust = p->group->decay && w > 0 && u > 0 ? w / u : 1;
    (void)sum;
    descend(p->w, p->slot[0], p->slot[1], p->n, (float)(part_lr(p) * trust), factors_of(p));
}

const struct optim_rule optim_lamb = {
    .name = "lamb",
    .n_slots = 2,
    .n_saved = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .beta1 = 0.9,
    .beta2 = 0.999,
    .eps = 1e-6,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS,
    .n_passes = 2,
    .pass = {{.run = measure, .n_sums = 2, .by_tensor = true}, {.run = lamb_run}},
    .moves = 10,
    .note = "adamw whose rate in each matrix follows its norm (You et al. 2020, alg. 2)",
};
