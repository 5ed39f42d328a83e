/* The look-up and one layer, forward and backward. A layer reads ACT_X of its number, and ACT_XN
 * normed from it, and writes those of the next.
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
    bool drops;           /* dropout is on */
    uint64_t sample;      /* the first sequence's place in the training order */
};

/* The look-up and the first norm: ACT_X and ACT_XN of layer 0. */
void block_embed(const struct net *n, const struct pass *p, const float *params,
                 const int32_t *token);
/* Its gradient, added to the embedding's. */
void block_embed_bwd(const struct net *n, const struct pass *p, const int32_t *token, float *grads);
/* What attention is in a layer. */
struct attention_shape block_attention(const struct net *n, const struct pass *p, int layer);
/* Product, norms of queries and keys, rotation: ACT_XN to ACT_QKV. */
void block_qkv(const struct net *n, const struct pass *p, int layer, const float *params);
/* Attention's output in ACT_ATT to the next layer's ACT_X and ACT_XN (behind the last layer that of
 * the final norm): o_proj and MLP, with their norms. */
void block_rest(const struct net *n, const struct pass *p, int layer, const float *params);
/* The whole layer. */
void block_fwd(const struct net *n, const struct pass *p, int layer, const float *params);

/* ACT_DXN, the gradient of a norm's output at ACT_X of `layer` (of the final one for layer L),
 * through it and through the branch's norm of the layer before: onto ACT_DX, and to ACT_DBRANCH.
 * Rebuilds what the layer before did not keep; `fresh`: its forward pass was the last. */
void block_between_bwd(const struct net *n, const struct pass *p, int layer, const float *params,
                       float *grads, bool fresh);
/* Between the two: writes the gradients of the layer's matrices, adds to those of its norms, and
 * leaves ACT_DXN for the step before. Needs USE_TRAIN. */
void block_bwd(const struct net *n, const struct pass *p, int layer, const float *params,
               float *grads);

#endif
