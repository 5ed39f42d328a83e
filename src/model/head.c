#include "model/head.h"

#include "kern/gemm.h"
#include "kern/rmsnorm.h"
#include "kern/softmax_ce.h"

/* The final norm of rows first … first+count-1, into the same rows of ACT_XN. */
static float *final_norm(const struct net *n, const float *params, size_t first, size_t count)
{
    size_t D = (size_t)n->spec.D;
    float *xn = act(&n->acts, ACT_XN, 0) + first * D;
    rmsnorm_fwd(xn, F32, D, act(&n->acts, ACT_RSTD, 0) + first,
                act(&n->acts, ACT_X, n->spec.L) + first * D, D,
                params + net_at(n, TENSOR_FINAL_NORM, 0), count, D, (float)n->spec.eps);
    return xn;
}

/* Logits and loss of rows first … first+count-1, whose logits live in ACT_LOGITS meanwhile. */
static void chunk_loss(const struct net *n, const float *params, const struct batch_view *b,
                       float *grads, size_t first, size_t count)
{
    const struct acts *a = &n->acts;
    size_t V = (size_t)n->spec.V, D = (size_t)n->spec.D, embed = net_at(n, TENSOR_EMBED, 0);
    float *logits = act(a, ACT_LOGITS, 0);
    const float *xn = act(a, ACT_XN, 0) + first * D;
    gemm_nt(logits, V, xn, D, params + embed, D, count, V, D, 1, 0);
    net_lap_products(n, PROF_HEAD, 1, count, V, D);
    softmax_ce(act(a, ACT_LOSS, 0) + first, (uint8_t *)act(a, ACT_CORRECT, 0) + first,
               grads == NULL ? NULL : logits, F32, V, logits, V, b->target + first,
               b->weight == NULL ? NULL : b->weight + first, count, V, (float)n->spec.final_cap);
    net_lap_pass(n, PROF_LOSS, (grads == NULL ? 1 : 2) * count * V);
    if (grads == NULL)
        return;
    gemm_nn(act(a, ACT_DXN, 0) + first * D, D, logits, V, params + embed, D, count, D, V, 1, 0);
    gemm_tn(grads + embed, D, logits, V, xn, D, V, D, count, 1, first == 0 ? 0 : 1);
    net_lap_products(n, PROF_HEAD_BWD, 2, count, V, D);
}

static void add_up(const struct net *n, const struct pass *p, const float *weight,
                   struct pass_result *out)
{
    const float *loss = act(&n->acts, ACT_LOSS, 0);
    const uint8_t *correct = (const uint8_t *)act(&n->acts, ACT_CORRECT, 0);
    *out = (struct pass_result){0};
    for (size_t i = 0; i < p->N; i++) {
        double w = weight == NULL ? 1 : weight[i];
        /* An uncounted target may have any loss, even an infinite one. */
        if (w == 0)
            continue;
        out->loss_sum += w * loss[i];
        out->n_targets += w;
        out->n_correct += correct[i] ? w : 0;
    }
}

void head_loss(const struct net *n, const struct pass *p, const float *params,
               const struct batch_view *b, float *grads, struct pass_result *out)
{
    const struct acts *a = &n->acts;
    size_t D = (size_t)n->spec.D, norm = net_at(n, TENSOR_FINAL_NORM, 0);
    size_t chunk = acts_chunk_rows(p->N, (size_t)n->spec.V);
    final_norm(n, params, 0, p->N);
    net_lap_pass(n, PROF_NORM, 2 * p->N * D);
    for (size_t first = 0; first < p->N; first += chunk)
        chunk_loss(n, params, b, grads, first, p->N - first < chunk ? p->N - first : chunk);
    add_up(n, p, b->weight, out);
    net_lap_pass(n, PROF_LOSS, 0);
    if (grads == NULL)
        return;
    rmsnorm_bwd(act(a, ACT_DX, 0), F32, D, grads + norm, act(a, ACT_DXN, 0), D,
                act(a, ACT_X, n->spec.L), D, act(a, ACT_RSTD, 0), params + norm, p->N, D, 0);
    net_lap_pass(n, PROF_NORM_BWD, 3 * p->N * D);
}

void head_logits(const struct net *n, const float *params, size_t first_row, size_t n_rows,
                 float *logits)
{
    size_t V = (size_t)n->spec.V, D = (size_t)n->spec.D;
    const float *xn = final_norm(n, params, first_row, n_rows);
    gemm_nt(logits, V, xn, D, params + net_at(n, TENSOR_EMBED, 0), D, n_rows, V, D, 1, 0);
    softcap(logits, n_rows * V, (float)n->spec.final_cap);
}
