/* How attention is cut up: tiles of queries against blocks of keys, and what each query sees.
 *
 * A tile's rows are queries of all heads that share a key/value head, position after position, the
 * heads of a position next to each other. So a tile of many heads spans few positions and little of
 * its work lies beyond the diagonal. */
#ifndef CARAT_SRC_KERN_ATTN_TILE_H
#define CARAT_SRC_KERN_ATTN_TILE_H

#include <stdbool.h>

#include "attn_product.h"
#include "kern/attention.h"

enum {
    /* Multiples of MICRO_ROWS and of two vectors. */
    TILE_ROWS = MANY_REGISTERS ? 128 : 96,
    BLOCK_KEYS = TILE_ROWS,
    SKEW = 16, /* added to row lengths, so that columns do not share cache sets */
    LD_SCORES = BLOCK_KEYS + SKEW,
    MOST_GROUPS = TILE_ROWS / MICRO_ROWS,
};

struct tile {
    const struct attention_shape *s;
    size_t b, kv;               /* sequence, key/value head */
    size_t n;                   /* rows */
    size_t key_first, key_end;  /* that any row sees */
    size_t key_known;           /* where the keys of the tile before it end */
    size_t position[TILE_ROWS]; /* of each row's query */
    size_t head[TILE_ROWS];     /* its head, of all H */
    size_t first[TILE_ROWS];    /* first key it sees; its position is the last */
};

/* Keys from … to-1 of a block. */
struct span {
    size_t from, to;
};

/* A tile against n keys from k0 on, which are counted from there. Rows go in groups of MICRO_ROWS.
 */
struct block {
    size_t k0, n;
    bool empty;                    /* nothing is seen */
    struct span row[TILE_ROWS];    /* what each row sees */
    struct span any[MOST_GROUPS];  /* outside of it no row of the group sees anything */
    struct span each[MOST_GROUPS]; /* within it each row of the group sees everything */
};

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Floats between positions of qkv, elements between those of out. */
static inline size_t ld_qkv(const struct attention_shape *s)
{
    return s->ldqkv ? s->ldqkv : (s->H + 2 * s->K) * s->Hd;
}

static inline size_t ld_out(const struct attention_shape *s)
{
    return s->ldout ? s->ldout : s->H * s->Hd;
}

/* Floats between packed rows of heads, wide enough for whole vectors of any machine. */
static inline size_t ld_head(const struct attention_shape *s)
{
    return round_up(s->Hd, 32) + SKEW;
}

/* Keys, rounded up to whole blocks. */
static inline size_t padded_keys(const struct attention_shape *s)
{
    return round_up(s->T, BLOCK_KEYS);
}

/* How many units n neighbours of a sum take: pairs, or each its own. */
static inline size_t units(size_t n, enum dtype type)
{
    return type == BF16 ? (n + 1) / 2 : n;
}

/* Row offsets of units: a pair's two rows are one. */
static inline size_t unit_floor(size_t n, enum dtype type)
{
    return type == BF16 ? n / 2 : n;
}

/* Rows of one sequence and key/value head: positions times heads. */
static inline size_t rows_in_all(const struct attention_shape *s)
{
    return s->T * (s->H / s->K);
}

/* First key that query q sees; start: of this sequence, or NULL. */
static inline size_t first_key(const struct attention_shape *s, const int32_t *start, size_t q)
{
    size_t first = 0;
    if (s->window != 0 && q + 1 > s->window)
        first = q + 1 - s->window;
    if (start && start[q] > 0 && (size_t)start[q] > first)
        first = min_size((size_t)start[q], q); /* a query always sees itself */
    return first;
}

/* The tile that starts at row `row`. */
static inline void tile_init(struct tile *t, const struct attention_shape *s, const int32_t *start,
                             size_t b, size_t kv, size_t row)
{
    size_t group = s->H / s->K, q = row / group, h = row % group;
    const int32_t *begins = start ? start + b * s->T : NULL;
    *t = (struct tile){.s = s, .b = b, .kv = kv, .n = min_size(TILE_ROWS, rows_in_all(s) - row)};
    t->key_first = q;
    t->key_known = row == 0 ? 0 : (row - 1) / group + 1;
    for (size_t r = 0; r < t->n; r++) {
        t->position[r] = q;
        t->head[r] = kv * group + h;
        t->first[r] = first_key(s, begins, q);
        t->key_first = min_size(t->key_first, t->first[r]);
        t->key_end = q + 1;
        if (++h == group)
            h = 0, q++;
    }
}

/* Where row r's head starts in qkv, in out, and its place in lse[B,H,T]. */
static inline size_t query_at(const struct tile *t, size_t r)
{
    return (t->b * t->s->T + t->position[r]) * ld_qkv(t->s) + t->head[r] * t->s->Hd;
}

static inline size_t out_at(const struct tile *t, size_t r)
{
    return (t->b * t->s->T + t->position[r]) * ld_out(t->s) + t->head[r] * t->s->Hd;
}

static inline size_t lse_at(const struct tile *t, size_t r)
{
    return (t->b * t->s->H + t->head[r]) * t->s->T + t->position[r];
}

static inline void block_groups(struct block *k, size_t n_rows)
{
    for (size_t g = 0; g * MICRO_ROWS < n_rows; g++) {
        struct span any = {BLOCK_KEYS, 0}, each = {0, BLOCK_KEYS};
        for (size_t r = g * MICRO_ROWS; r < (g + 1) * MICRO_ROWS; r++) {
            const struct span *row = &k->row[r];
            if (row->from < row->to)
                any.from = min_size(any.from, row->from), any.to = max_size(any.to, row->to);
            each.from = max_size(each.from, row->from);
            each.to = min_size(each.to, row->to);
        }
        any.from = min_size(any.from, any.to);
        k->any[g] = any;
        k->each[g] = each;
    }
}

/* The tile against the block of keys from k0 on. */
static inline void block_init(struct block *k, const struct tile *t, size_t k0)
{
    k->k0 = k0;
    k->n = min_size(BLOCK_KEYS, t->s->T - k0);
    k->empty = true;
    for (size_t r = 0; r < t->n; r++) {
        size_t end = min_size(t->position[r] + 1, k0 + k->n);
        struct span seen = {max_size(t->first[r], k0) - k0, max_size(end, k0) - k0};
        bool none = seen.from >= seen.to;
        k->row[r] = none ? (struct span){0, 0} : seen;
        k->empty = k->empty && none;
    }
    for (size_t r = t->n; r < round_up(t->n, MICRO_ROWS); r++)
        k->row[r] = (struct span){0, 0};
    block_groups(k, t->n);
}

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
