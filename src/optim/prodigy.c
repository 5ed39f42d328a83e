#include "optim/rules.h"

#include "par/fold.h"

#include <math.h>
#include <string.h>

enum { M, V, S, START };

/* BEFORE is the distance that the step at hand began with. */
enum { D, D_MAX, NUMERATOR, BEFORE };

static void begin_step(struct optim *o, struct optim_step *s, const double *sum)
{
    (void)sum;
    if (o->scalar[D] == 0)
        o->scalar[D] = o->scalar[D_MAX] = s->d0;
    o->scalar[BEFORE] = o->scalar[D];
}

struct factors {
    float g;
    float b1, a1, b2, a2; /* the averages' own and the gradient's parts: d and d² are in them */
    float b3, a3;         /* of s */
};

static void average(const float *restrict g, float *restrict m, float *restrict v,
                    float *restrict s, size_t n, struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g, di = f.a2 * gi;
        m[i] = f.b1 * m[i] + f.a1 * gi;
        v[i] = f.b2 * v[i] + di * di;
        s[i] = f.b3 * s[i] + f.a3 * gi;
    }
}

static void distance(float *restrict u, const float *restrict start, const float *restrict w,
                     size_t n)
{
    for (size_t i = 0; i < n; i++)
        u[i] = start[i] - w[i];
}

/* ⟨gradient, start − weights⟩ and ‖s‖₁. a2 is a root, so that d² does not fall below what a float
 * holds. */
static void measure(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    double d = p->scalar[BEFORE];
    struct factors f = {.g = (float)s->grad_scale,
                        .b1 = (float)s->beta1,
                        .a1 = (float)(d * (1 - s->beta1)),
                        .b2 = (float)s->beta2,
                        .a2 = (float)(d * sqrt(1 - s->beta2)),
                        .b3 = (float)sqrt(s->beta2),
                        .a3 = (float)(d / s->d0 * d * part_lr(p))};
    float u[SHARD_BLOCK];
    distance(u, p->slot[START], p->w, p->n);
    sum[0] = s->grad_scale * fold_dot(p->g, u, p->n);
    average(p->g, p->slot[M], p->slot[V], p->slot[S], p->n, f);
    sum[1] = fold_abs(p->slot[S], p->n);
}

static void estimate(struct optim *o, struct optim_step *s, const double *sum)
{
    double *x = o->scalar, d = x[BEFORE], growth = s->d_growth > 0 ? s->d_growth : INFINITY;
    x[NUMERATOR] = sqrt(s->beta2) * x[NUMERATOR] + d / s->d0 * d * s->lr * sum[0];
    o->lr = d * s->lr;
    if (sum[1] == 0 || s->lr == 0)
        return;
    double found = x[NUMERATOR] / sum[1];
    if (d == s->d0)
        d = fmax(d, found);
    x[D_MAX] = fmax(x[D_MAX], found);
    x[D] = fmin(x[D_MAX], d * growth);
}

static void descend(float *restrict w, const float *restrict m, const float *restrict v, size_t n,
                    float keep, float lr, float eps)
{
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * keep - lr * m[i] / (sqrtf(v[i]) + eps);
}

static void run(const struct optim_part *p, double *sum)
{
    double lr = p->scalar[BEFORE] * part_lr(p);
    (void)sum;
    descend(p->w, p->slot[M], p->slot[V], p->n, (float)(1 - lr * part_decay(p)), (float)lr,
            (float)(p->scalar[D] * p->step->eps));
}

static void begin(const struct optim_part *p, bool resumed)
{
    if (!resumed)
        memcpy(p->slot[START], p->w, p->n * sizeof(float));
}

const struct optim_rule optim_prodigy = {
    .name = "prodigy",
    .n_slots = 4,
    .n_saved = 4,
    .slot = {[M] = "exp_avg", [V] = "exp_avg_sq", [S] = "s", [START] = "start"},
    .beta1 = 0.9,
    .beta2 = 0.999,
    .eps = 1e-8,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS | OPTIM_DISTANCE,
    .n_passes = 3,
    .pass = {{.join = begin_step}, {.run = measure, .n_sums = 2, .join = estimate}, {.run = run}},
    .moves = 13,
    .begin = begin,
    .n_scalars = 4,
    .scalar = {[D] = "prodigy.d",
               [D_MAX] = "prodigy.d_max",
               [NUMERATOR] = "prodigy.numerator",
               [BEFORE] = "prodigy.d_before"},
    .note = "adamw that finds its own rate; set lr 1 (Mishchenko & Defazio 2024, alg. 4)",
};
