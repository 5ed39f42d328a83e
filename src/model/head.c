#include "model/head.h"

#include "kern/softmax_ce.h"

#include <string.h>

/* Where logits lie meanwhile: so many floats. */
struct room {
    float *at;
    size_t n;
};

static struct room room_for(const struct net *n, float *grads)
{
    const struct acts *a = &n->acts;
    if (grads != NULL && a->n_grad_logits > 0)
        return (struct room){grads + net_at(n, TENSOR_INPUT_NORM, 0), a->n_grad_logits};
    return (struct room){act(a, ACT_LOGITS, 0), a->n_logits};
}

static void lap_products(const struct net *n, enum prof_phase phase, size_t rows, int n_products)
{
    struct matrix_shape z = linear_shape(&n->spec, MATRIX_EMBED);
    double elements = (double)(rows * z.in + z.out * z.in + rows * z.out);
    prof_lap(n->prof, phase, n_products * 2.0 * (double)rows * (double)z.out * (double)z.in,
             n_products * elements * (double)dtype_size(n->acts.plan.products));
}

/* The chunk's gradients of logits, in the place of logits. Products in bfloat16 read their rows
 * whole, which may be longer than V. */
static struct rows gradient_of(const struct net *n, struct rows logits)
{
    logits.type = n->acts.plan.products;
    return logits;
}

static void clear_ends(struct rows r, size_t n_rows, size_t V)
{
    size_t size = dtype_size(r.type);
    for (size_t i = 0; i < n_rows; i++)
        memset((char *)r.at + (i * r.ld + V) * size, 0, (r.ld - V) * size);
}

/* Logits and loss of rows first … first+count-1. */
static void chunk_loss(const struct net *n, const float *params, const struct batch_view *b,
                       float *grads, struct rows logits, size_t first, size_t count)
{
    const struct acts *a = &n->acts;
    size_t V = (size_t)n->spec.V;
    struct rows xn = rows_from(act_rows(a, ACT_XN, 0), first), grad = gradient_of(n, logits);
    linear_fwd(n, MATRIX_EMBED, 0, params, logits, xn, count);
    lap_products(n, PROF_HEAD, count, 1);
    softmax_ce(act(a, ACT_LOSS, 0) + first, (uint8_t *)act(a, ACT_CORRECT, 0) + first,
               grads == NULL ? NULL : grad.at, grad.type, grad.ld, logits.at, logits.ld,
               b->target + first, b->weight == NULL ? NULL : b->weight + first, count, V,
               (float)n->spec.final_cap, n->also);
    if (grads != NULL)
        clear_ends(grad, count, V);
    prof_lap(n->prof, PROF_LOSS, 0,
             (double)(count * V * (sizeof(float) + (grads == NULL ? 0 : dtype_size(grad.type)))));
    if (grads == NULL)
        return;
    linear_bwd_input(n, MATRIX_EMBED, 0, params, rows_from(act_rows(a, ACT_DXN, 0), first), grad,
                     count);
    int more = linear_bwd_weight(n, MATRIX_EMBED, 0, grads, grad, xn, count, first > 0);
    lap_products(n, PROF_HEAD_BWD, count, 1 + more);
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
    struct room room = room_for(n, grads);
    struct rows logits = {room.at, F32, acts_logits_ld(&n->spec, n->acts.plan.products)};
    size_t chunk = acts_chunk_rows(p->N, logits.ld, room.n);
    for (size_t first = 0; first < p->N; first += chunk)
        chunk_loss(n, params, b, grads, logits, first, p->N - first < chunk ? p->N - first : chunk);
    add_up(n, p, b->weight, out);
    prof_lap(n->prof, PROF_LOSS, 0, 0);
}

/* By way of logits whose rows lie as products want them. */
void head_logits(const struct net *n, const float *params, size_t first_row, size_t n_rows,
                 float *logits)
{
    size_t V = (size_t)n->spec.V;
    struct rows xn = rows_from(act_rows(&n->acts, ACT_XN, 0), first_row);
    if (n->products == NULL) {
        linear_fwd(n, MATRIX_EMBED, 0, params, (struct rows){logits, F32, V}, xn, n_rows);
    } else {
        struct rows wide = {act(&n->acts, ACT_LOGITS, 0), F32, acts_logits_ld(&n->spec, BF16)};
        size_t chunk = acts_chunk_rows(n_rows, wide.ld, n->acts.n_logits);
        for (size_t first = 0, count; first < n_rows; first += count) {
            count = n_rows - first < chunk ? n_rows - first : chunk;
            linear_fwd(n, MATRIX_EMBED, 0, params, wide, rows_from(xn, first), count);
            for (size_t i = 0; i < count; i++)
                memcpy(logits + (first + i) * V, (float *)wide.at + i * wide.ld, V * sizeof(float));
        }
    }
    softcap(logits, n_rows * V, (float)n->spec.final_cap);
}
