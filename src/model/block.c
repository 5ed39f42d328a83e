#include "model/block.h"

#include "kern/dropout.h"
#include "kern/embed.h"
#include "kern/geglu.h"
#include "kern/heads.h"
#include "kern/rmsnorm.h"

#include <math.h>
#include <string.h>

/* A layer in a pass: what every function here needs. */
struct here {
    const struct net *n;
    const struct acts *a;
    const struct pass *p;
    const float *params;
    int layer;
    bool again; /* rebuilding what the forward pass did not keep */
    size_t N, D, F, C;
    float eps;
};

static struct here at_layer(const struct net *n, const struct pass *p, int layer,
                            const float *params)
{
    const struct model_spec *s = &n->spec;
    return (struct here){.n = n,
                         .a = &n->acts,
                         .p = p,
                         .params = params,
                         .layer = layer,
                         .N = p->N,
                         .D = (size_t)s->D,
                         .F = (size_t)s->F,
                         .C = (size_t)((s->H + 2 * s->K) * s->Hd),
                         .eps = (float)s->eps};
}

static float *buffer(const struct here *h, enum act id)
{
    return act(h->a, id, h->layer);
}

static struct rows rows(const struct here *h, enum act id)
{
    return act_rows(h->a, id, h->layer);
}

static const float *weight(const struct here *h, enum tensor_kind k)
{
    return h->params + net_at(h->n, k, h->layer);
}

/* That of a norm which only some models have. */
static const float *post_norm(const struct here *h, enum tensor_kind k)
{
    return h->n->spec.post_norms ? weight(h, k) : NULL;
}

static const float *qk_norm(const struct here *h, enum tensor_kind k)
{
    return h->n->spec.qk_norm ? weight(h, k) : NULL;
}

/* ---- where the time goes ---- */

static void lap(const struct here *h, enum prof_phase phase, double flops, double bytes)
{
    prof_lap(h->n->prof, h->again ? PROF_RECOMPUTE : phase, flops, bytes);
}

/* A pass over so many floats, and so many elements of the products' type. */
static void lap_pass(const struct here *h, enum prof_phase phase, size_t floats, size_t elements)
{
    lap(h, phase, 0, (double)(floats * sizeof(float) + elements * dtype_size(h->a->plan.products)));
}

/* Products with a matrix. */
static void lap_products(const struct here *h, enum prof_phase phase, enum matrix m, int n_products)
{
    struct matrix_shape z = linear_shape(&h->n->spec, m);
    double flops = 2.0 * (double)h->N * (double)z.out * (double)z.in;
    size_t elements = h->N * z.in + z.out * z.in + h->N * z.out;
    lap(h, phase, n_products * flops,
        n_products * (double)elements * (double)dtype_size(h->a->plan.products));
}

/* Attention: so many operations for each element of a head and each key that a query sees. */
static void lap_attention(const struct here *h, enum prof_phase phase,
                          const struct attention_shape *s, double each)
{
    double T = (double)s->T, seen = (double)(s->window == 0 || s->window > s->T ? s->T : s->window);
    double pairs = (double)(s->B * s->H) * seen * (T - (seen - 1) / 2);
    double floats = (double)(s->B * s->T * (2 * s->H + 2 * s->K) * s->Hd);
    lap(h, phase, pairs * (double)s->Hd * each, floats * sizeof(float) * each / 4);
}

/* ---- forward ---- */

struct attention_shape block_attention(const struct net *n, const struct pass *p, int layer)
{
    const struct model_spec *s = &n->spec;
    return (struct attention_shape){
        .B = p->B,
        .T = p->T,
        .H = (size_t)s->H,
        .K = (size_t)s->K,
        .Hd = (size_t)s->Hd,
        .window = s->local[layer] ? (size_t)s->window : 0,
        .scale = (float)(1 / sqrt(s->query_scalar)),
        .cap = (float)s->attn_cap,
        .ldqkv = n->acts.ld[ACT_QKV],
        .ldout = n->acts.ld[ACT_ATT],
        .products = n->acts.plan.products,
    };
}

static float embed_scale(const struct net *n)
{
    return (float)sqrt(n->spec.mup_base > 0 ? n->spec.mup_base : n->spec.D);
}

/* Logits divided by a number are those of a final norm so divided: (1 + w) / m. */
static bool divides_logits(const struct net *n)
{
    return spec_width_ratio(&n->spec) != 1;
}

static void divide_final_norm(const struct here *h)
{
    const float *w = h->params + net_at(h->n, TENSOR_FINAL_NORM, 0);
    float *divided = act(h->a, ACT_FINAL_NORM, 0);
    double m = spec_width_ratio(&h->n->spec);
    for (size_t j = 0; j < h->D; j++)
        divided[j] = (float)((1 + (double)w[j]) / m - 1);
}

static const float *angles(const struct here *h)
{
    return act(h->a, h->n->spec.local[h->layer] ? ACT_ROPE_LOCAL : ACT_ROPE, 0);
}

static struct heads_shape heads_of(const struct here *h)
{
    const struct model_spec *s = &h->n->spec;
    return (struct heads_shape){.B = h->p->B,
                                .T = h->p->T,
                                .first = h->p->first,
                                .H = (size_t)s->H,
                                .K = (size_t)s->K,
                                .Hd = (size_t)s->Hd,
                                .eps = h->eps};
}

/* ACT_XN from the stream at the layer's entry. */
static void norm_entry(const struct here *h, enum prof_phase phase)
{
    struct rows xn = rows(h, ACT_XN);
    rmsnorm_fwd(xn.at, xn.type, xn.ld, buffer(h, ACT_RSTD), buffer(h, ACT_X), h->D,
                weight(h, TENSOR_INPUT_NORM), h->N, h->D, h->eps);
    lap_pass(h, phase, h->N * h->D, h->N * h->D);
}

void block_embed(const struct net *n, const struct pass *p, const float *params,
                 const int32_t *token)
{
    struct here h = at_layer(n, p, 0, params);
    embed_fwd(buffer(&h, ACT_X), weight(&h, TENSOR_EMBED), token, p->N, h.D, embed_scale(n));
    if (divides_logits(n))
        divide_final_norm(&h);
    lap_pass(&h, PROF_EMBED, 2 * p->N * h.D, 0);
    norm_entry(&h, PROF_NORM);
}

static void heads(const struct here *h)
{
    struct heads_shape s = heads_of(h);
    heads_fwd(buffer(h, ACT_QKV), h->a->ld[ACT_QKV],
              h->n->spec.qk_norm ? buffer(h, ACT_RAW_RSTD) : NULL, buffer(h, ACT_RAW),
              h->a->ld[ACT_RAW], qk_norm(h, TENSOR_Q_NORM), qk_norm(h, TENSOR_K_NORM), angles(h),
              &s);
    lap_pass(h, PROF_HEADS, 2 * h->N * h->C, 0);
}

static void qkv(const struct here *h)
{
    linear_fwd(h->n, MATRIX_QKV, h->layer, h->params, rows(h, ACT_RAW), rows(h, ACT_XN), h->N);
    lap_products(h, PROF_QKV, MATRIX_QKV, 1);
    heads(h);
}

void block_qkv(const struct net *n, const struct pass *p, int layer, const float *params)
{
    struct here h = at_layer(n, p, layer, params);
    qkv(&h);
}

static void attend(const struct here *h)
{
    struct attention_shape s = block_attention(h->n, h->p, h->layer);
    struct rows att = rows(h, ACT_ATT);
    float *lse = h->a->plan.use == USE_TRAIN ? buffer(h, ACT_LSE) : NULL;
    float most = attention_fwd(att.at, att.type, lse, buffer(h, ACT_QKV), h->p->start, &s,
                               act(h->a, ACT_SCRATCH, 0));
    float *so_far = h->n->most_logit;
    if (so_far != NULL && most > *so_far)
        *so_far = most;
    lap_attention(h, PROF_ATTENTION, &s, 4);
}

static void o_proj(const struct here *h)
{
    linear_fwd(h->n, MATRIX_O, h->layer, h->params, rows(h, ACT_O), rows(h, ACT_ATT), h->N);
    lap_products(h, PROF_O, MATRIX_O, 1);
}

/* What a layer adds to the stream: from attention, or from the MLP. */
struct branch {
    const float *x;    /* before its norm */
    const float *norm; /* its weight, or NULL */
    float *rstd;
    int place; /* of its mask */
};

static struct branch attention_branch(const struct here *h)
{
    return (struct branch){buffer(h, ACT_O), post_norm(h, TENSOR_POST_ATTN_NORM),
                           buffer(h, ACT_O_RSTD), 2 * h->layer};
}

static struct branch mlp_branch(const struct here *h)
{
    return (struct branch){buffer(h, ACT_Y), post_norm(h, TENSOR_POST_FFN_NORM),
                           buffer(h, ACT_Y_RSTD), 2 * h->layer + 1};
}

/* ACT_DROP from x with the branch's mask. */
static float *drop(const struct here *h, const float *x, int place)
{
    const struct dropout o = {h->n->dropout, h->n->dropout_seed, h->p->sample, (uint64_t)place};
    float *y = act(h->a, ACT_DROP, 0);
    dropout(y, x, &o, h->p->B, h->p->T, h->D);
    lap_pass(h, PROF_NORM, 2 * h->N * h->D, 0);
    return y;
}

/* Norms it and drops a part: what is left has no norm to go through. */
static struct branch drop_branch(const struct here *h, struct branch b)
{
    float *y = act(h->a, ACT_DROP, 0);
    if (b.norm != NULL)
        rmsnorm_fwd(y, F32, h->D, b.rstd, b.x, h->D, b.norm, h->N, h->D, h->eps);
    return (struct branch){drop(h, b.norm != NULL ? y : b.x, b.place), NULL, NULL, 0};
}

/* out = x + branch, and ACT_XN normed from it. */
static void add_branch(const struct here *h, float *out, float *rstd, const float *x,
                       struct branch b, const float *next)
{
    struct rows xn = rows(h, ACT_XN);
    if (h->p->drops)
        b = drop_branch(h, b);
    rmsnorm_residual_fwd(out, xn.at, xn.type, xn.ld, b.rstd, rstd, x, b.x, b.norm, next, h->N, h->D,
                         h->eps);
}

/* The stream between attention and MLP, and ACT_XN from it. */
static void enter_mlp(const struct here *h)
{
    add_branch(h, buffer(h, ACT_X_MID), buffer(h, ACT_MID_RSTD), buffer(h, ACT_X),
               attention_branch(h), weight(h, TENSOR_PRE_FFN_NORM));
    lap_pass(h, PROF_NORM, 3 * h->N * h->D, h->N * h->D);
}

static void gate_up(const struct here *h)
{
    linear_fwd(h->n, MATRIX_GATE_UP, h->layer, h->params, rows(h, ACT_GU), rows(h, ACT_XN), h->N);
    lap_products(h, PROF_GATE_UP, MATRIX_GATE_UP, 1);
}

static void down(const struct here *h)
{
    struct rows hidden = rows(h, ACT_H), gu = rows(h, ACT_GU);
    geglu_fwd(hidden.at, hidden.type, hidden.ld, gu.at, gu.type, gu.ld, h->N, h->F);
    lap_pass(h, PROF_GEGLU, 0, 3 * h->N * h->F);
    linear_fwd(h->n, MATRIX_DOWN, h->layer, h->params, rows(h, ACT_Y), hidden, h->N);
    lap_products(h, PROF_DOWN, MATRIX_DOWN, 1);
}

/* The norm at ACT_X of a layer, or behind the last: where it lies, and what is computed with. */
static size_t norm_at(const struct net *n, int layer)
{
    return layer < n->spec.L ? net_at(n, TENSOR_INPUT_NORM, layer)
                             : net_at(n, TENSOR_FINAL_NORM, 0);
}

static const float *norm_weight(const struct here *h, int layer)
{
    return layer == h->n->spec.L && divides_logits(h->n) ? act(h->a, ACT_FINAL_NORM, 0)
                                                         : h->params + norm_at(h->n, layer);
}

/* The stream at the next layer's entry, and ACT_XN from it. */
static void leave_mlp(const struct here *h)
{
    int next = h->layer + 1;
    add_branch(h, act(h->a, ACT_X, next), act(h->a, ACT_RSTD, next), buffer(h, ACT_X_MID),
               mlp_branch(h), norm_weight(h, next));
    lap_pass(h, PROF_NORM, 3 * h->N * h->D, h->N * h->D);
}

static void rest(const struct here *h)
{
    o_proj(h);
    enter_mlp(h);
    gate_up(h);
    down(h);
    leave_mlp(h);
}

void block_rest(const struct net *n, const struct pass *p, int layer, const float *params)
{
    struct here h = at_layer(n, p, layer, params);
    rest(&h);
}

void block_fwd(const struct net *n, const struct pass *p, int layer, const float *params)
{
    struct here h = at_layer(n, p, layer, params);
    qkv(&h);
    attend(&h);
    rest(&h);
}

/* ---- backward ---- */

/* What attention's backward pass reads and was not kept. */
static void rebuild_attention(const struct here *h)
{
    const bool *kept = h->a->kept;
    bool branch_is_read = h->n->spec.post_norms || !kept[ACT_X_MID];
    if (!kept[ACT_RAW]) {
        norm_entry(h, PROF_RECOMPUTE);
        qkv(h);
    } else if (h->n->spec.qk_norm) {
        heads(h);
    }
    if (!kept[ACT_ATT])
        attend(h);
    if (!kept[ACT_O] && branch_is_read)
        o_proj(h);
}

/* ACT_X_MID where it was not kept, and ACT_XN from it. */
static void rebuild_mid(const struct here *h)
{
    struct rows xn = rows(h, ACT_XN);
    if (!h->a->kept[ACT_X_MID]) {
        enter_mlp(h);
        return;
    }
    rmsnorm_fwd(xn.at, xn.type, xn.ld, buffer(h, ACT_MID_RSTD), buffer(h, ACT_X_MID), h->D,
                weight(h, TENSOR_PRE_FFN_NORM), h->N, h->D, h->eps);
    lap_pass(h, PROF_NORM, h->N * h->D, h->N * h->D);
}

/* What the backward pass of a layer reads and the forward one did not keep. Buffers that the layers
 * share still hold the layer's own when it was the last to run: but for ACT_XN. */
static void rebuild(struct here h, bool fresh)
{
    h.again = true;
    if (!fresh)
        rebuild_attention(&h);
    rebuild_mid(&h);
    if (!fresh && !h.a->kept[ACT_GU])
        gate_up(&h);
    if (!fresh && !h.a->kept[ACT_Y] && h.n->spec.post_norms)
        down(&h);
}

/* A norm on the stream, whose output's gradient is in ACT_DXN. */
struct stream_norm {
    const float *x, *rstd, *w;
    float *dw;
};

/* Through it onto ACT_DX, and through the branch's norm before to ACT_DBRANCH; b NULL: no further.
 * A branch that was dropped in part has its gradient dropped alike. */
static void bwd_norms(const struct here *h, struct stream_norm s, const struct branch *b, float *dw)
{
    struct rows d = rows(h, ACT_DBRANCH);
    float *dx = act(h->a, ACT_DX, 0), *dxn = act(h->a, ACT_DXN, 0);
    bool apart = b != NULL && h->p->drops;
    rmsnorm_residual_bwd(dx, b != NULL && !apart ? d.at : NULL, d.type, d.ld, s.dw, dw, dxn, s.x,
                         s.rstd, s.w, b ? b->x : NULL, b ? b->rstd : NULL, b ? b->norm : NULL, h->N,
                         h->D);
    if (apart)
        rmsnorm_residual_bwd(drop(h, dx, b->place), d.at, d.type, d.ld, NULL, dw, NULL, NULL, NULL,
                             NULL, b->x, b->rstd, b->norm, h->N, h->D);
    lap_pass(h, PROF_NORM_BWD, 5 * h->N * h->D, h->N * h->D);
}

/* Through the norm at ACT_X of `layer` and, with `branch`, that of the branch before. */
static void bwd_entry(const struct here *before, int layer, float *grads, bool branch)
{
    const struct acts *a = before->a;
    const struct branch mlp = mlp_branch(before);
    bwd_norms(before,
              (struct stream_norm){act(a, ACT_X, layer), act(a, ACT_RSTD, layer),
                                   norm_weight(before, layer), grads + norm_at(before->n, layer)},
              branch ? &mlp : NULL, grads + net_at(before->n, TENSOR_POST_FFN_NORM, before->layer));
}

/* What came to the divided norm's weight is the norm's own times the divisor. */
static void divide_final_grad(const struct here *h, float *grads)
{
    float *dw = grads + net_at(h->n, TENSOR_FINAL_NORM, 0);
    double m = spec_width_ratio(&h->n->spec);
    for (size_t j = 0; j < h->D; j++)
        dw[j] = (float)(dw[j] / m);
}

void block_between_bwd(const struct net *n, const struct pass *p, int layer, const float *params,
                       float *grads, bool fresh)
{
    struct here before = at_layer(n, p, layer > 0 ? layer - 1 : 0, params);
    bool last = layer == n->spec.L, branch = layer > 0 && n->lowest < norm_at(n, layer);
    if (n->lowest > norm_at(n, layer))
        return;
    if (last)
        memset(act(&n->acts, ACT_DX, 0), 0, p->N * before.D * sizeof(float));
    if (branch)
        rebuild(before, fresh);
    bwd_entry(&before, layer, grads, branch);
    if (last && divides_logits(n))
        divide_final_grad(&before, grads);
}

static void bwd_down(const struct here *h, float *grads)
{
    struct rows dy = rows(h, ACT_DBRANCH), hidden = rows(h, ACT_H), gu = rows(h, ACT_GU);
    linear_bwd_input(h->n, MATRIX_DOWN, h->layer, h->params, hidden, dy, h->N);
    lap_products(h, PROF_DOWN_BWD, MATRIX_DOWN, 1);
    geglu_bwd(gu.at, hidden.at, hidden.at, hidden.type, hidden.ld, gu.at, gu.type, gu.ld, h->N,
              h->F);
    lap_pass(h, PROF_GEGLU_BWD, 0, 6 * h->N * h->F);
    int more = linear_bwd_weight(h->n, MATRIX_DOWN, h->layer, grads, dy, hidden, h->N, false);
    lap_products(h, PROF_DOWN_BWD, MATRIX_DOWN, more);
}

static void bwd_gate_up(const struct here *h, float *grads)
{
    struct rows gu = rows(h, ACT_GU);
    int more =
        linear_bwd_weight(h->n, MATRIX_GATE_UP, h->layer, grads, gu, rows(h, ACT_XN), h->N, false);
    linear_bwd_input(h->n, MATRIX_GATE_UP, h->layer, h->params, rows(h, ACT_DXN), gu, h->N);
    lap_products(h, PROF_GATE_UP_BWD, MATRIX_GATE_UP, 1 + more);
}

/* Through the norm before the MLP and that of attention's branch. */
static void bwd_mid(const struct here *h, float *grads)
{
    const struct branch attention = attention_branch(h);
    bwd_norms(h,
              (struct stream_norm){buffer(h, ACT_X_MID), buffer(h, ACT_MID_RSTD),
                                   weight(h, TENSOR_PRE_FFN_NORM),
                                   grads + net_at(h->n, TENSOR_PRE_FFN_NORM, h->layer)},
              &attention, grads + net_at(h->n, TENSOR_POST_ATTN_NORM, h->layer));
}

static void bwd_o(const struct here *h, float *grads)
{
    struct rows dy = rows(h, ACT_DBRANCH);
    linear_bwd_input(h->n, MATRIX_O, h->layer, h->params, rows(h, ACT_DATT), dy, h->N);
    int more =
        linear_bwd_weight(h->n, MATRIX_O, h->layer, grads, dy, rows(h, ACT_ATT), h->N, false);
    lap_products(h, PROF_O_BWD, MATRIX_O, 1 + more);
}

static void bwd_attention(const struct here *h)
{
    struct attention_shape s = block_attention(h->n, h->p, h->layer);
    struct rows att = rows(h, ACT_ATT);
    attention_bwd(buffer(h, ACT_DQKV), buffer(h, ACT_DATT), att.at, att.type, buffer(h, ACT_LSE),
                  buffer(h, ACT_QKV), h->p->start, &s, act(h->a, ACT_SCRATCH, 0));
    lap_attention(h, PROF_ATTENTION_BWD, &s, 10);
}

static void bwd_heads(const struct here *h, float *grads)
{
    struct heads_shape s = heads_of(h);
    struct rows d = rows(h, ACT_DRAW);
    heads_bwd(d.at, d.type, d.ld, grads + net_at(h->n, TENSOR_Q_NORM, h->layer),
              grads + net_at(h->n, TENSOR_K_NORM, h->layer), buffer(h, ACT_DQKV),
              h->a->ld[ACT_DQKV], buffer(h, ACT_RAW), h->a->ld[ACT_RAW], buffer(h, ACT_RAW_RSTD),
              qk_norm(h, TENSOR_Q_NORM), qk_norm(h, TENSOR_K_NORM), angles(h), &s);
    lap_pass(h, PROF_HEADS_BWD, (h->n->spec.qk_norm ? 2 : 1) * h->N * h->C, h->N * h->C);
}

static void bwd_qkv(const struct here *h, float *grads)
{
    struct rows d = rows(h, ACT_DRAW);
    norm_entry(h, PROF_NORM_BWD);
    int more =
        linear_bwd_weight(h->n, MATRIX_QKV, h->layer, grads, d, rows(h, ACT_XN), h->N, false);
    linear_bwd_input(h->n, MATRIX_QKV, h->layer, h->params, rows(h, ACT_DXN), d, h->N);
    lap_products(h, PROF_QKV_BWD, MATRIX_QKV, 1 + more);
}

void block_bwd(const struct net *n, const struct pass *p, int layer, const float *params,
               float *grads)
{
    struct here h = at_layer(n, p, layer, params);
    if (net_reaches(n, TENSOR_DOWN, layer))
        bwd_down(&h, grads);
    if (net_reaches(n, TENSOR_UP, layer))
        bwd_gate_up(&h, grads);
    if (net_reaches(n, TENSOR_PRE_FFN_NORM, layer))
        bwd_mid(&h, grads);
    if (net_reaches(n, TENSOR_O, layer))
        bwd_o(&h, grads);
    if (!net_reaches(n, n->spec.qk_norm ? TENSOR_K_NORM : TENSOR_V, layer))
        return;
    bwd_attention(&h);
    bwd_heads(&h, grads);
    if (net_reaches(n, TENSOR_V, layer))
        bwd_qkv(&h, grads);
}

void block_embed_bwd(const struct net *n, const struct pass *p, const int32_t *token, float *grads)
{
    struct here h = at_layer(n, p, 0, NULL);
    embed_bwd(grads + net_at(n, TENSOR_EMBED, 0), buffer(&h, ACT_DX), token, p->N, h.D,
              embed_scale(n));
    lap_pass(&h, PROF_EMBED_BWD, 3 * p->N * h.D, 0);
}
