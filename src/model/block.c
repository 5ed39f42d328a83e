#include "model/block.h"

#include "kern/embed.h"
#include "kern/geglu.h"
#include "kern/gemm.h"
#include "kern/heads.h"
#include "kern/rmsnorm.h"

#include <math.h>
#include <string.h>

/* Sizes that every function here needs. */
struct sizes {
    size_t N, D, H, K, Hd, F, Q, C; /* Q = H·Hd; C = (H+2K)·Hd: columns of the fused product */
    float eps;
};

static struct sizes sizes_of(const struct net *n, const struct pass *p)
{
    const struct model_spec *s = &n->spec;
    size_t H = (size_t)s->H, K = (size_t)s->K, Hd = (size_t)s->Hd;
    return (struct sizes){.N = p->N,
                          .D = (size_t)s->D,
                          .H = H,
                          .K = K,
                          .Hd = Hd,
                          .F = (size_t)s->F,
                          .Q = H * Hd,
                          .C = (H + 2 * K) * Hd,
                          .eps = (float)s->eps};
}

static const float *weight(const struct net *n, const float *params, enum tensor_kind k, int layer)
{
    return params + net_at(n, k, layer);
}

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
    };
}

static const float *angles(const struct net *n, int layer)
{
    return act(&n->acts, n->spec.local[layer] ? ACT_ROPE_LOCAL : ACT_ROPE, 0);
}

static float embed_scale(const struct net *n)
{
    return (float)sqrt(n->spec.D);
}

void block_embed(const struct net *n, const struct pass *p, const float *params,
                 const int32_t *token)
{
    embed_fwd(act(&n->acts, ACT_X, 0), weight(n, params, TENSOR_EMBED, 0), token, p->N,
              (size_t)n->spec.D, embed_scale(n));
}

void block_embed_bwd(const struct net *n, const struct pass *p, const int32_t *token, float *grads)
{
    embed_bwd(grads + net_at(n, TENSOR_EMBED, 0), act(&n->acts, ACT_DX, 0), token, p->N,
              (size_t)n->spec.D, embed_scale(n));
}

/* The norm in front of a product, into ACT_XN; the backward pass does it again rather than keep it.
 */
static const float *norm_input(const struct net *n, const struct sizes *z, const float *x,
                               const float *w)
{
    float *xn = act(&n->acts, ACT_XN, 0);
    rmsnorm_fwd(xn, F32, z->D, act(&n->acts, ACT_RSTD, 0), x, z->D, w, z->N, z->D, z->eps);
    return xn;
}

/* ---- forward ---- */

static struct heads_shape heads_of(const struct pass *p, const struct sizes *z)
{
    return (struct heads_shape){
        .B = p->B, .T = p->T, .first = p->first, .H = z->H, .K = z->K, .Hd = z->Hd, .eps = z->eps};
}

/* Norms and rotation of the product's queries and keys; again in the backward pass. */
static void finish_heads(const struct net *n, const struct pass *p, const struct sizes *z,
                         int layer, const float *params)
{
    struct heads_shape s = heads_of(p, z);
    bool norm = n->spec.qk_norm;
    float *qkv = act(&n->acts, ACT_QKV, layer);
    heads_fwd(qkv, z->C, norm ? act(&n->acts, ACT_RAW_RSTD, layer) : NULL,
              norm ? act(&n->acts, ACT_RAW, layer) : qkv, z->C,
              norm ? weight(n, params, TENSOR_Q_NORM, layer) : NULL,
              norm ? weight(n, params, TENSOR_K_NORM, layer) : NULL, angles(n, layer), &s);
}

void block_qkv(const struct net *n, const struct pass *p, int layer, const float *params)
{
    struct sizes z = sizes_of(n, p);
    float *product = act(&n->acts, n->spec.qk_norm ? ACT_RAW : ACT_QKV, layer);
    const float *xn =
        norm_input(n, &z, act(&n->acts, ACT_X, layer), weight(n, params, TENSOR_INPUT_NORM, layer));
    gemm_nt(product, z.C, xn, z.D, weight(n, params, TENSOR_Q, layer), z.D, z.N, z.C, z.D, 1, 0);
    finish_heads(n, p, &z, layer, params);
}

/* out = res + norm(branch). */
static void add_normed(const struct sizes *z, float *out, const float *res, const float *branch,
                       float *rstd, const float *norm)
{
    rmsnorm_residual_fwd(out, NULL, F32, z->D, rstd, NULL, res, branch, norm, NULL, z->N, z->D,
                         z->eps);
}

/* out = res + in[N,k] · w[D,k]ᵀ. */
static void add_product(const struct sizes *z, float *out, const float *res, const float *in,
                        const float *w, size_t k)
{
    if (out != res)
        memcpy(out, res, z->N * z->D * sizeof *out);
    gemm_nt(out, z->D, in, k, w, k, z->N, z->D, k, 1, 1);
}

/* The stream between attention and MLP from what post-norms leave; again in the backward pass. */
static void finish_mid(const struct net *n, const struct sizes *z, int layer, const float *params)
{
    const struct acts *a = &n->acts;
    add_normed(z, act(a, ACT_X_MID, layer), act(a, ACT_X, layer), act(a, ACT_O, layer),
               act(a, ACT_O_RSTD, layer), weight(n, params, TENSOR_POST_ATTN_NORM, layer));
}

static void attention_out(const struct net *n, const struct sizes *z, int layer,
                          const float *params)
{
    const struct acts *a = &n->acts;
    const float *att = act(a, ACT_ATT, layer), *w = weight(n, params, TENSOR_O, layer);
    if (!n->spec.post_norms) {
        add_product(z, act(a, ACT_X_MID, layer), act(a, ACT_X, layer), att, w, z->Q);
        return;
    }
    gemm_nt(act(a, ACT_O, layer), z->D, att, z->Q, w, z->Q, z->N, z->D, z->Q, 1, 0);
    finish_mid(n, z, layer, params);
}

static void mlp_out(const struct net *n, const struct sizes *z, int layer, const float *params)
{
    const struct acts *a = &n->acts;
    const float *h = act(a, ACT_H, 0), *w = weight(n, params, TENSOR_DOWN, layer);
    const float *mid = act(a, ACT_X_MID, layer);
    float *y = act(a, ACT_Y, layer), *next = act(a, ACT_X, layer + 1);
    if (!n->spec.post_norms) {
        add_product(z, next, mid, h, w, z->F);
        return;
    }
    gemm_nt(y, z->D, h, z->F, w, z->F, z->N, z->D, z->F, 1, 0);
    add_normed(z, next, mid, y, act(a, ACT_Y_RSTD, layer),
               weight(n, params, TENSOR_POST_FFN_NORM, layer));
}

void block_rest(const struct net *n, const struct pass *p, int layer, const float *params)
{
    struct sizes z = sizes_of(n, p);
    float *gu = act(&n->acts, ACT_GU, layer);
    attention_out(n, &z, layer, params);
    const float *xn = norm_input(n, &z, act(&n->acts, ACT_X_MID, layer),
                                 weight(n, params, TENSOR_PRE_FFN_NORM, layer));
    gemm_nt(gu, 2 * z.F, xn, z.D, weight(n, params, TENSOR_GATE, layer), z.D, z.N, 2 * z.F, z.D, 1,
            0);
    geglu_fwd(act(&n->acts, ACT_H, 0), F32, z.F, gu, F32, 2 * z.F, z.N, z.F);
    mlp_out(n, &z, layer, params);
}

void block_fwd(const struct net *n, const struct pass *p, int layer, const float *params)
{
    const struct acts *a = &n->acts;
    struct attention_shape shape = block_attention(n, p, layer);
    float *lse = a->use == USE_TRAIN ? act(a, ACT_LSE, layer) : NULL;
    block_qkv(n, p, layer, params);
    attention_fwd(act(a, ACT_ATT, layer), F32, lse, act(a, ACT_QKV, layer), p->start, &shape,
                  act(a, ACT_SCRATCH, 0));
    block_rest(n, p, layer, params);
}

/* ---- backward ---- */

/* Gradient of a branch's output before its post-norm, from ACT_DX behind the norm. */
static const float *bwd_post_norm(const struct net *n, const struct sizes *z, const float *branch,
                                  const float *rstd, const float *w, float *dw)
{
    const float *dx = act(&n->acts, ACT_DX, 0);
    float *d = act(&n->acts, ACT_DXN, 0);
    if (!n->spec.post_norms)
        return dx;
    rmsnorm_bwd(d, F32, z->D, dw, dx, z->D, branch, z->D, rstd, w, z->N, z->D, 0);
    return d;
}

/* A product's input gradient is in ACT_DXN: through the norm before it, onto the residual's. */
static void bwd_pre_norm(const struct net *n, const struct sizes *z, const float *x, const float *w,
                         float *dw)
{
    const struct acts *a = &n->acts;
    rmsnorm_bwd(act(a, ACT_DX, 0), F32, z->D, dw, act(a, ACT_DXN, 0), z->D, x, z->D,
                act(a, ACT_RSTD, 0), w, z->N, z->D, 1);
}

static void bwd_mlp(const struct net *n, const struct sizes *z, int layer, const float *params,
                    float *grads)
{
    const struct acts *a = &n->acts;
    size_t down = net_at(n, TENSOR_DOWN, layer), gate = net_at(n, TENSOR_GATE, layer);
    size_t post = net_at(n, TENSOR_POST_FFN_NORM, layer);
    size_t pre = net_at(n, TENSOR_PRE_FFN_NORM, layer);
    float *h = act(a, ACT_H, 0), *gu = act(a, ACT_GU, layer), *dxn = act(a, ACT_DXN, 0);
    const float *mid = act(a, ACT_X_MID, layer);
    const float *dy = bwd_post_norm(n, z, act(a, ACT_Y, layer), act(a, ACT_Y_RSTD, layer),
                                    params + post, grads + post);
    gemm_nn(h, z->F, dy, z->D, params + down, z->F, z->N, z->F, z->D, 1, 0);
    geglu_bwd(gu, h, h, F32, z->F, gu, F32, 2 * z->F, z->N, z->F);
    gemm_tn(grads + down, z->F, dy, z->D, h, z->F, z->D, z->F, z->N, 1, 0);
    if (n->spec.post_norms)
        finish_mid(n, z, layer, params);
    const float *xn = norm_input(n, z, mid, params + pre);
    gemm_tn(grads + gate, z->D, gu, 2 * z->F, xn, z->D, 2 * z->F, z->D, z->N, 1, 0);
    gemm_nn(dxn, z->D, gu, 2 * z->F, params + gate, z->D, z->N, z->D, 2 * z->F, 1, 0);
    bwd_pre_norm(n, z, mid, params + pre, grads + pre);
}

/* Rotation and the norms of queries and keys, in place in ACT_DQKV. */
static void bwd_heads(const struct net *n, const struct pass *p, const struct sizes *z, int layer,
                      const float *params, float *grads)
{
    struct heads_shape s = heads_of(p, z);
    bool norm = n->spec.qk_norm;
    size_t q = norm ? net_at(n, TENSOR_Q_NORM, layer) : 0;
    size_t k = norm ? net_at(n, TENSOR_K_NORM, layer) : 0;
    float *dqkv = act(&n->acts, ACT_DQKV, 0);
    heads_bwd(dqkv, F32, z->C, grads + q, grads + k, dqkv, z->C,
              norm ? act(&n->acts, ACT_RAW, layer) : NULL, z->C,
              norm ? act(&n->acts, ACT_RAW_RSTD, layer) : NULL, norm ? params + q : NULL,
              params + k, angles(n, layer), &s);
}

static void bwd_attention(const struct net *n, const struct pass *p, const struct sizes *z,
                          int layer, const float *params, float *grads)
{
    const struct acts *a = &n->acts;
    size_t o = net_at(n, TENSOR_O, layer), qkv = net_at(n, TENSOR_Q, layer);
    size_t post = net_at(n, TENSOR_POST_ATTN_NORM, layer);
    size_t pre = net_at(n, TENSOR_INPUT_NORM, layer);
    float *datt = act(a, ACT_DATT, 0), *dqkv = act(a, ACT_DQKV, 0);
    const float *x = act(a, ACT_X, layer), *att = act(a, ACT_ATT, layer);
    struct attention_shape shape = block_attention(n, p, layer);
    const float *dy = bwd_post_norm(n, z, act(a, ACT_O, layer), act(a, ACT_O_RSTD, layer),
                                    params + post, grads + post);
    gemm_nn(datt, z->Q, dy, z->D, params + o, z->Q, z->N, z->Q, z->D, 1, 0);
    gemm_tn(grads + o, z->Q, dy, z->D, att, z->Q, z->D, z->Q, z->N, 1, 0);
    if (n->spec.qk_norm)
        finish_heads(n, p, z, layer, params);
    attention_bwd(dqkv, datt, att, F32, act(a, ACT_LSE, layer), act(a, ACT_QKV, layer), p->start,
                  &shape, act(a, ACT_SCRATCH, 0));
    bwd_heads(n, p, z, layer, params, grads);
    const float *xn = norm_input(n, z, x, params + pre);
    gemm_tn(grads + qkv, z->D, dqkv, z->C, xn, z->D, z->C, z->D, z->N, 1, 0);
    gemm_nn(act(a, ACT_DXN, 0), z->D, dqkv, z->C, params + qkv, z->D, z->N, z->D, z->C, 1, 0);
    bwd_pre_norm(n, z, x, params + pre, grads + pre);
}

void block_bwd(const struct net *n, const struct pass *p, int layer, const float *params,
               float *grads)
{
    struct sizes z = sizes_of(n, p);
    bwd_mlp(n, &z, layer, params, grads);
    bwd_attention(n, p, &z, layer, params, grads);
}
