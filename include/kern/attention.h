/* Attention over grouped heads, causal, with windows, document starts and a soft cap.
 * One sequence's [T,T] scores never exist as a whole: tiles of queries meet blocks of keys.
 * Source: Vaswani et al. 2017, eq. 1; Shazeer 2019 (MQA); Ainslie et al. 2023 (GQA); Dao 2023
 * (softmax on line over blocks; scores computed again from the log-sum-exp on the way back). */
#ifndef CARAT_KERN_ATTENTION_H
#define CARAT_KERN_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/half.h"

struct attention_shape {
    size_t B, T;     /* sequences, positions */
    size_t H, K, Hd; /* query heads, key/value heads (H a multiple of K), head size */
    size_t window;   /* keys seen, the query's own included; 0: all before it */
    float scale;     /* scores are q·k·scale; positive */
    float cap;       /* soft cap: cap·tanh(score/cap); 0: none */
    /* Elements between positions, of qkv and dqkv, of out and dout; 0: dense. */
    size_t ldqkv, ldout;
    /* BF16: queries, keys, values, weights and their gradients are rounded to bfloat16 as operands
     * of the products; sums, softmax and results stay single precision. */
    enum dtype products;
};

/* Scratch floats that fwd and bwd need for this shape. */
size_t attention_scratch(const struct attention_shape *s);

/* out[B·T, H·Hd], of type tout, from qkv[B·T, (H+2K)·Hd], each row the query heads, key heads,
 * value heads. lse[B, H, T] (natural log of the softmax's denominator, maximum included) is kept
 * for the backward pass, may be NULL. start[B,T]: first position that query (b,t) may see
 * (documents), NULL: 0. Returns the greatest score that any query sees, cap included; far below
 * any score when there are none or none is a number. */
float attention_fwd(void *out, enum dtype tout, float *lse, const float *qkv, const int32_t *start,
                    const struct attention_shape *s, float *scratch);

/* dqkv[B·T, (H+2K)·Hd] (overwritten) from dout[B·T, H·Hd] and the forward's out, lse, qkv. */
void attention_bwd(float *dqkv, const float *dout, const void *out, enum dtype tout,
                   const float *lse, const float *qkv, const int32_t *start,
                   const struct attention_shape *s, float *scratch);

/* One new position against a cache: out[H·Hd] from q[H·Hd], keys[n, K·Hd] and values[n, K·Hd] with
 * rows ldkv apart; only the last `window` keys count when window is non-zero. scratch: n floats. */
void attention_decode(float *out, const float *q, const float *keys, const float *values,
                      size_t ldkv, size_t n, const struct attention_shape *s, float *scratch);

#endif
