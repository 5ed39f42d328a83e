#include "optim/rules.h"

#include "base/mem.h"
#include "kern/gemm.h"
#include "par/fold.h"

#include <math.h>
#include <string.h>

enum { NEWTON_SCHULZ_STEPS = 5 };
static const float NS_A = 3.4445f, NS_B = -4.7750f, NS_C = 2.0315f;
static const double NORM_GUARD = 1e-7;
/* The update then has the root mean square of AdamW's, so that rate and decay carry over. */
static const double MATCH = 0.2;

/* Room for one matrix: the next iterate, and two squares of its smaller side. */
struct muon {
    float *next, *square, *poly;
};

static size_t smaller(const struct optim_group *g)
{
    return g->rows < g->cols ? g->rows : g->cols;
}

static size_t square_floats(size_t side)
{
    return side * gemm_ld(side);
}

static void most_needed(const struct optim_group *groups, int n_groups, size_t *n, size_t *square)
{
    *n = *square = 0;
    for (int i = 0; i < n_groups; i++) {
        const struct optim_group *g = &groups[i];
        if (!g->hidden || g->frozen)
            continue;
        size_t s = square_floats(smaller(g));
        *n = g->at.n > *n ? g->at.n : *n;
        *square = s > *square ? s : *square;
    }
}

static size_t own_bytes(const struct optim_group *groups, int n_groups)
{
    size_t n, square;
    most_needed(groups, n_groups, &n, &square);
    return arena_need(1, sizeof(struct muon)) + arena_need(n, sizeof(float)) +
           2 * arena_need(square, sizeof(float));
}

static void own_init(struct optim *o)
{
    size_t n, square;
    struct arena a = {.base = o->own, .size = own_bytes(o->groups, o->n_groups)};
    most_needed(o->groups, o->n_groups, &n, &square);
    struct muon *m = arena_push(&a, 1, sizeof *m);
    m->next = arena_push(&a, n, sizeof *m->next);
    m->square = arena_push(&a, square, sizeof *m->square);
    m->poly = arena_push(&a, square, sizeof *m->poly);
}

/* y = a·x + (b·s + c·s²)·x with s = x·xᵀ, or from the right with s = xᵀ·x where that is smaller. */
static void iterate(float *y, const float *x, const struct optim_group *g, const struct muon *m)
{
    size_t rows = g->rows, cols = g->cols, side = smaller(g), ld = gemm_ld(side);
    if (rows <= cols)
        gemm_nt(m->square, ld, x, cols, x, cols, rows, rows, cols, 1, 0);
    else
        gemm_tn(m->square, ld, x, cols, x, cols, cols, cols, rows, 1, 0);
    memcpy(m->poly, m->square, side * ld * sizeof(float));
    gemm_nn(m->poly, ld, m->square, ld, m->square, ld, side, side, side, NS_C, NS_B);
    memcpy(y, x, g->at.n * sizeof(float));
    if (rows <= cols)
        gemm_nn(y, cols, m->poly, ld, x, cols, rows, cols, rows, 1, NS_A);
    else
        gemm_nn(y, cols, x, cols, m->poly, ld, rows, cols, cols, 1, NS_A);
}

/* x[rows,cols] with its singular values brought near 1; where the result is. x is used up. */
static float *orthogonalize(float *x, const struct optim_group *g, const struct muon *m)
{
    float *y = m->next, scale = (float)(1 / (sqrt(fold_sumsq(x, g->at.n)) + NORM_GUARD));
    for (size_t i = 0; i < g->at.n; i++)
        x[i] *= scale;
    for (int i = 0; i < NEWTON_SCHULZ_STEPS; i++) {
        iterate(y, x, g, m);
        float *swap = x;
        x = y;
        y = swap;
    }
    return x;
}

/* The gradient becomes what is to be orthogonalized: Nesterov's look ahead. */
static void roll(float *restrict g, float *restrict m, size_t n, float scale, float mu, float take)
{
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * scale, mi = mu * m[i] + take * gi;
        m[i] = mi;
        g[i] = mu * mi + take * gi;
    }
}

static void descend(float *restrict w, const float *restrict u, size_t n, float keep, float lr)
{
    for (size_t i = 0; i < n; i++)
        w[i] = w[i] * keep - lr * u[i];
}

static void muon_run(const struct optim_part *p, double *sum)
{
    const struct optim_step *s = p->step;
    const struct optim_group *g = p->group;
    if (!g->hidden) {
        adamw_run(p, sum);
        return;
    }
    double lr = part_lr(p), longer = (double)(g->rows > g->cols ? g->rows : g->cols);
    roll(p->g, p->slot[0], p->n, (float)s->grad_scale, (float)s->momentum,
         (float)(1 - s->momentum));
    const float *u = orthogonalize(p->g, g, p->o->own);
    descend(p->w, u, p->n, (float)(1 - lr * part_decay(p)), (float)(lr * MATCH * sqrt(longer)));
}

/* In each step the square of one side, its square, and their product with the matrix. */
static double flops(const struct optim_group *g)
{
    double s = (double)smaller(g), n = (double)g->rows * (double)g->cols;
    return g->hidden ? NEWTON_SCHULZ_STEPS * (4 * s * n + 2 * s * s * s) : 0;
}

const struct optim_rule optim_muon = {
    .name = "muon",
    .n_slots = 2,
    .n_saved = 2,
    .slot = {"exp_avg", "exp_avg_sq"},
    .not_in_hidden = 1U << 1,
    .beta1 = 0.9,
    .beta2 = 0.95,
    .eps = 1e-8,
    .momentum = 0.95,
    .reads = OPTIM_BETA1 | OPTIM_BETA2 | OPTIM_EPS | OPTIM_MOMENTUM,
    .cut = OPTIM_CUT_HIDDEN_WHOLE,
    .n_passes = 1,
    .pass = {{.run = muon_run}},
    .moves = 7,
    .own_bytes = own_bytes,
    .own_init = own_init,
    .flops = flops,
    .note = "orthogonal steps in layers' matrices, adamw elsewhere, its rate (Liu et al. 2025)",
};
