/* Attention's working memory, cut up. One layout serves every machine and both types, so that its
 * size depends on the shape alone. */
#ifndef CARAT_SRC_KERN_ATTN_SCRATCH_H
#define CARAT_SRC_KERN_ATTN_SCRATCH_H

#include "attn_tile.h"

enum { MOST_LANES = 16 };

/* Of one key/value head, all T keys in blocks; of one tile. "Summed" operands stand on the side of
 * a product that is summed over rows. Pairs and narrow rows exist with bfloat16 products only. */
struct scratch {
    float *keys_t, *values_t; /* [blocks][Hd, LD_SCORES] transposed */
    float *keys, *values;     /* [T, ld_head] summed */
    float *dkeys, *dvalues;   /* [T, ld_head] */
    float *q, *dout;          /* [rows, ld_head] */
    float *q_summed, *dout_summed;
    float *result;           /* [rows, ld_head] output, or gradient of queries */
    float *scores, *dscores; /* [rows, LD_SCORES], then weights and gradients of scores */
    float *narrow;           /* [rows, LD_SCORES] weights or dscores, neighbours paired */
    float *pairs, *dpairs;   /* [rows/2, LD_SCORES] weights and dscores, rows paired */
    float *sums;             /* [rows, VL] of weights, lane by lane */
    float *top, *factor;     /* [rows] */
};

/* Cuts scratch up; returns its size in floats. c and at may be NULL. */
static inline size_t scratch_cut(struct scratch *c, float *at, const struct attention_shape *s)
{
    size_t head = padded_keys(s) * ld_head(s),
           turned = padded_keys(s) / BLOCK_KEYS * s->Hd * LD_SCORES;
    size_t rows = TILE_ROWS * ld_head(s), square = TILE_ROWS * LD_SCORES;
    struct scratch none;
    c = c ? c : &none;
    struct {
        float **to;
        size_t n;
    } parts[] = {{&c->keys_t, turned},
                 {&c->values_t, turned},
                 {&c->keys, head},
                 {&c->values, head},
                 {&c->dkeys, head},
                 {&c->dvalues, head},
                 {&c->q, rows},
                 {&c->dout, rows},
                 {&c->q_summed, rows},
                 {&c->dout_summed, rows},
                 {&c->result, rows},
                 {&c->scores, square},
                 {&c->dscores, square},
                 {&c->narrow, square},
                 {&c->pairs, square / 2},
                 {&c->dpairs, square / 2},
                 {&c->sums, TILE_ROWS * MOST_LANES},
                 {&c->top, TILE_ROWS},
                 {&c->factor, TILE_ROWS}};
    size_t n = MOST_LANES; /* to start at a vector's boundary */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (at)
            *parts[i].to = (float *)(((uintptr_t)at + 63) / 64 * 64) + n - MOST_LANES;
        n += round_up(parts[i].n, MOST_LANES);
    }
    return n;
}

#endif
