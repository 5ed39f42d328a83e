/* The products of a tile of queries with a block of keys. What a whole micro tile does not see is
 * left out. */
#ifndef CARAT_SRC_KERN_ATTN_BLOCK_H
#define CARAT_SRC_KERN_ATTN_BLOCK_H

#include "attn_tile.h"

/* scores[rows, LD_SCORES] = A[rows] · B, where they are seen. A's rows are n_units long and lda
 * apart; B[n_units, LD_SCORES] is a block of transposed keys or values. */
static inline void block_scores(float *scores, const float *a, size_t lda, const float *b,
                                size_t n_units, const struct block *k, const struct tile *t)
{
    for (size_t v = 0; v * VL < k->n; v += 2)
        for (size_t g = 0; g * MICRO_ROWS < t->n; g++) {
            size_t from = k->any[g].from / VL, to = round_up(k->any[g].to, VL) / VL;
            /* A third vector is taken along with the two before it. */
            bool taken = MICRO_VECTORS == 3 && v + 1 == to && from < v;
            if (from >= v + 2 || to <= v || taken)
                continue;
            struct product p = {.c = scores + g * MICRO_ROWS * LD_SCORES + v * VL,
                                .a = a + g * MICRO_ROWS * lda,
                                .b = b + v * VL,
                                .ldc = LD_SCORES,
                                .lda = lda,
                                .ldb = LD_SCORES,
                                .n = n_units};
            micro_new(&p, take_vectors(to - v), t->s->products);
        }
}

/* What a product of a block does to its sums. */
enum onto { NEW, ADDED, SCALED };

/* c[rows, ld_head] = c·factor + A[rows, keys] · B[keys, ld_head], the keys that are seen. NEW: c is
 * overwritten; ADDED: factor is 1. A's rows are LD_SCORES units apart; B is the block's first. */
static inline void block_values(float *c, enum onto onto, const float *factor, const float *a,
                                const float *b, const struct block *k, const struct tile *t)
{
    enum dtype type = t->s->products;
    size_t ld = ld_head(t->s), n_v = round_up(t->s->Hd, VL) / VL;
    for (size_t v = 0, take; v < n_v; v += take) {
        take = take_vectors(n_v - v);
        for (size_t g = 0; g * MICRO_ROWS < t->n; g++) {
            size_t row = g * MICRO_ROWS, from = unit_floor(k->any[g].from, type);
            struct product p = {.c = c + row * ld + v * VL,
                                .a = a + row * LD_SCORES + from,
                                .b = b + from * ld + v * VL,
                                .factor = factor + row,
                                .ldc = ld,
                                .lda = LD_SCORES,
                                .ldb = ld,
                                .n = units(k->any[g].to, type) - from};
            if (onto == SCALED)
                micro_onto_scaled(&p, take, type);
            else if (onto == ADDED)
                micro_onto(&p, take, type);
            else
                micro_new(&p, take, type);
        }
    }
}

/* The rows first … last-1 that see any of MICRO_ROWS keys from j on. */
struct seers {
    size_t first, last;
};

static inline struct seers seers_of(size_t j, const struct block *k, size_t n_rows)
{
    struct seers s = {0, n_rows};
    while (s.first < n_rows && k->row[s.first].to <= j)
        s.first++;
    while (s.last > s.first && k->row[s.last - 1].from >= j + MICRO_ROWS)
        s.last--;
    return s;
}

/* c[keys, ld_head] (+)= Aᵀ · B[rows, ld_head] with A[rows, keys], whose rows of units are LD_SCORES
 * apart; c is the block's first. */
static inline void block_keys(float *c, enum onto onto, const float *a, const float *b,
                              const struct block *k, const struct tile *t)
{
    enum dtype type = t->s->products;
    size_t ld = ld_head(t->s), n_v = round_up(t->s->Hd, VL) / VL;
    for (size_t v = 0, take; v < n_v; v += take) {
        take = take_vectors(n_v - v);
        for (size_t j = 0; j < k->n; j += MICRO_ROWS) {
            struct seers rows = seers_of(j, k, t->n);
            size_t from = unit_floor(rows.first, type);
            struct product p = {.c = c + j * ld + v * VL,
                                .a = a + from * LD_SCORES + j,
                                .b = b + from * ld + v * VL,
                                .ldc = ld,
                                .lda = LD_SCORES,
                                .ldb = ld,
                                .n = units(rows.last, type) - from};
            if (onto == NEW)
                micro_transposed_new(&p, take, type);
            else
                micro_transposed_onto(&p, take, type);
        }
    }
}

#endif
