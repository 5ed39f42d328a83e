/* Attention's working memory, cut up. Its size depends on the shape alone: there is room for the
 * tiles of any machine, for both types, forward and backward. */
#ifndef CARAT_SRC_KERN_ATTN_SCRATCH_H
#define CARAT_SRC_KERN_ATTN_SCRATCH_H

#include "attn_tile.h"

enum { MOST_LANES = 16, MOST_ROWS = 128 };

/* "Summed" operands stand on the side of a product that is summed over rows: pairs of rows with
 * bfloat16, which otherwise are the rows themselves. */
struct scratch {
    /* Of one key/value head, all T positions. */
    float *keys_t, *values_t; /* [blocks][Hd, LD_SCORES] transposed */
    float *summed;            /* [T, ld_head] forward: values; backward: keys */
    float *dkeys, *dvalues;   /* [T, ld_head] */
    /* Of one tile. */
    float *q, *dout;               /* [rows, ld_head] */
    float *q_summed, *dout_summed; /* with bfloat16 */
    float *result;                 /* [rows, ld_head] outputs, or gradients of queries */
    float *sums;                   /* [rows, VL] of weights, lane by lane */
    float *top, *factor;           /* [rows] */
    /* Of one block: scores, which turn into weights, and their gradients. */
    float *scores, *dscores; /* [rows, LD_SCORES] */
    float *narrow;           /* weights or gradients, neighbours paired */
    float *pairs, *dpairs;   /* [rows/2, LD_SCORES] the same, rows paired */
};

/* Cuts scratch up; returns its size in floats. at NULL: only that. */
static inline size_t scratch_cut(struct scratch *c, float *at, const struct attention_shape *s)
{
    size_t head = (s->T + MOST_LANES) * ld_head(s); /* and the rest of a micro tile */
    /* Whole blocks with SKEW: more for many short ones, of 96 keys. */
    size_t turned = (s->T + s->T / 6 + 2 * MOST_ROWS) * s->Hd;
    size_t rows = MOST_ROWS * ld_head(s), square = MOST_ROWS * (MOST_ROWS + SKEW);
    struct {
        float **to;
        size_t n;
    } parts[] = {{&c->keys_t, turned},
                 {&c->values_t, turned},
                 {&c->summed, head},
                 {&c->dkeys, head},
                 {&c->dvalues, head},
                 {&c->q, rows},
                 {&c->dout, rows},
                 {&c->q_summed, rows},
                 {&c->dout_summed, rows},
                 {&c->result, rows},
                 {&c->sums, MOST_ROWS * MOST_LANES},
                 {&c->top, MOST_ROWS},
                 {&c->factor, MOST_ROWS},
                 {&c->scores, square},
                 {&c->dscores, square},
                 {&c->narrow, square},
                 {&c->pairs, square},
                 {&c->dpairs, square}};
    const size_t line = MOST_LANES * sizeof *at;
    size_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (at) /* each part at a vector's boundary */
            *parts[i].to = (float *)(((uintptr_t)at + line - 1) / line * line) + n;
        n += round_up(parts[i].n, MOST_LANES);
    }
    return n + MOST_LANES;
}

#endif
