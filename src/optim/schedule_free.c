#include "optim/rules.h"

#include <math.h>
#include <string.h>

/* The gradient is taken at y, which lies in the place of the parameters; x, the average of z, is
 * what is worth keeping. y follows from x and z alone, so that it can be made again. */
enum { Z, EXP_AVG_SQ, X };

/* β1 is that of the last step: y is made again as it was. */
enum { WEIGHTS, LR_MAX, BETA1 };

static void begin_step(struct optim *o, struct optim_step *s, const double *sum)
{
    (void)sum;
    o->scalar[LR_MAX] = fmax(o->scalar[LR_MAX], s->lr);
    o->scalar[WEIGHTS] += o->scalar[LR_MAX] * o->scalar[LR_MAX];
    o->scalar[BETA1] = s->beta1;
}

/* This step's share of the average. */
static double share(const double *scalar)
{
    return scalar[WEIGHTS] > 0 ? scalar[LR_MAX] * scalar[LR_MAX] / scalar[WEIGHTS] : 0;
}

struct factors {
    float g, lr, decay, b2, a2, root, eps;
    float keep, take; /* of x and z in x */
    float b1, a1;     /* of x and z in y */
};

static void step(float *restrict y, const float *restrict g, float *restrict z, float *restrict v,
                 float *restrict x, size_t n, struct factors f)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * f.g;
        float vi = f.b2 * v[i] + f.a2 * (gi * gi);
        float zi = z[i] - f.lr * (gi / (sqrtf(vi) * f.root + f.eps) + f.decay * y[i]);
        float xi = f.keep * x[i] + f.take * zi;
        v[i] = vi;
        z[i] = zi;
        x[i] = xi;
        y[i] = f.b1 * xi + f.a1 * zi;
    }
}

static void run(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    double c = share(p->scalar);
    struct factors f = {.g = (float)s->grad_scale,
                        .lr = (float)part_lr(p),
                        .decay = (float)part_decay(p),
                        .b2 = (float)s->beta2,
                        .a2 = (float)(1 - s->beta2),
                        .root = (float)(1 / sqrt(s->bias2)),
                        .eps = (float)s->eps,
                        .keep = (float)(1 - c),
                        .take = (float)c,
                        .b1 = (float)s->beta1,
                        .a1 = (float)(1 - s->beta1)};
    (void)sum;
    step(p->w, p->g, p->slot[Z], p->slot[EXP_AVG_SQ], p->slot[X], p->n, f);
}

/* Parameters that begin or that are read are x. */
static void begin(const struct optim_part *p, bool resumed)
{
    size_t bytes = p->n * sizeof(float);
    memcpy(p->slot[X], p->w, bytes);
    if (!resumed)
        memcpy(p->slot[Z], p->w, bytes);
}

static void show(const struct optim_part *p)
{
    memcpy(p->w, p->slot[X], p->n * sizeof(float));
}

static void mix(float *restrict y, const float *restrict x, const float *restrict z, size_t n,
                float b1, float a1)
{
    for (size_t i = 0; i < n; i++)
        y[i] = b1 * x[i] + a1 * z[i];
}

static void hide(const struct optim_part *p)
{
    double b1 = p->scalar[BETA1];
    /* Before the first step, x and z are one, and no rounding shall part y from them. */
    if (p->scalar[WEIGHTS] > 0)
        mix(p->w, p->slot[X], p->slot[Z], p->n, (float)b1, (float)(1 - b1));
}

const struct optim_rule optim_schedule_free = {
    .name = "schedule_free",
    .n_slots = 3,
    .n_saved = 2,
    .slot = {[Z] = "z", [EXP_AVG_SQ] = "exp_avg_sq", [X] = "x"},
    .beta1 = 0.9,
    .beta2 = 0.999,
    .eps = 1e-8,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS,
    .n_passes = 2,
    .pass = {{.join = begin_step}, {.run = run}},
    .moves = 9,
    .begin = begin,
    .show = show,
    .hide = hide,
    .n_scalars = 3,
    .scalar = {[WEIGHTS] = "schedule_free.weights",
               [LR_MAX] = "schedule_free.lr_max",
               [BETA1] = "schedule_free.beta1"},
    .note = "averages adamw's weights; set schedule.name constant (Defazio et al. 2024)",
};
