/* The look-up and one layer, forward and backward. A layer reads ACT_X of its number and writes
 * that of the next.
 */
#ifndef CARAT_MODEL_BLOCK_H
#define CARAT_MODEL_BLOCK_H

#include "kern/attention.h"
#include "model/net.h"

/* The shape of one pass: B sequences of T positions, the first of which is number `first`. */
struct pass {
    size_t B, T, N; /* N = B·T */
    size_t first;
    const int32_t *start; /* [B,T] first position that a query may see; NULL: 0 */
};

/* The look-up: ACT_X of layer 0. */
void block_embed(const struct net *n, const struct pass *p, const float *params,
                 const int32_t *token);
/* Its gradient, added to the embedding's. */
void block_embed_bwd(const struct net *n, const struct pass *p, const int32_t *token, float *grads);
/* What attention is in a layer. */
struct attention_shape block_attention(const struct net *n, const struct pass *p, int layer);
/* Norm, product, norms of queries and keys, rotation: ACT_X to ACT_QKV. */
void block_qkv(const struct net *n, const struct pass *p, int layer, const float *params);
/* Attention's output in ACT_ATT to the next layer's ACT_X: o_proj and MLP, with their norms. */
void block_rest(const struct net *n, const struct pass *p, int layer, const float *params);
/* The whole layer. */
void block_fwd(const struct net *n, const struct pass *p, int layer, const float *params);
/* ACT_DX from the gradient behind the layer to that before it; writes the gradients of the layer's
 * matrices and adds to those of its norms. Needs USE_TRAIN. */
void block_bwd(const struct net *n, const struct pass *p, int layer, const float *params,
               float *grads);

#endif
