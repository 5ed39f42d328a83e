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

/* Where a tile stands: sequence, key/value head, first row. */
struct place {
    size_t b, kv, row;
};

struct tile {
    const struct attention_shape *s;
    struct place place;
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

/* Columns of qkv. */
static inline size_t key_column(const struct attention_shape *s, size_t kv)
{
    return (s->H + kv) * s->Hd;
}

static inline size_t value_column(const struct attention_shape *s, size_t kv)
{
    return (s->H + s->K + kv) * s->Hd;
}

/* Floats between packed rows of heads, wide enough for whole vectors of any machine. */
static inline size_t ld_head(const struct attention_shape *s)
{
    return round_up(s->Hd, 32) + SKEW;
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

/* The tile after this one; false: there is none. */
static inline bool place_next(struct place *p, const struct attention_shape *s)
{
    p->row += TILE_ROWS;
    if (p->row >= rows_in_all(s))
        p->row = 0, p->kv++;
    if (p->kv == s->K)
        p->kv = 0, p->b++;
    return p->b < s->B;
}

/* The tile at p. start[B,T] or NULL. */
static inline void tile_init(struct tile *t, const struct place *p, const int32_t *start,
                             const struct attention_shape *s)
{
    size_t group = s->H / s->K, q = p->row / group, h = p->row % group;
    const int32_t *begins = start ? start + p->b * s->T : NULL;
    t->s = s;
    t->place = *p;
    t->n = min_size(TILE_ROWS, rows_in_all(s) - p->row);
    t->key_first = q;
    t->key_known = p->row == 0 ? 0 : (p->row - 1) / group + 1;
    t->key_end = (p->row + t->n - 1) / group + 1;
    for (size_t r = 0; r < t->n; r++) {
        t->position[r] = q;
        t->head[r] = p->kv * group + h;
        t->first[r] = first_key(s, begins, q);
        t->key_first = min_size(t->key_first, t->first[r]);
        if (++h == group)
            h = 0, q++;
    }
}

/* Where row r's head starts in qkv, in out, and its place in lse[B,H,T]. */
static inline size_t query_at(const struct tile *t, size_t r)
{
    return (t->place.b * t->s->T + t->position[r]) * ld_qkv(t->s) + t->head[r] * t->s->Hd;
}

static inline size_t out_at(const struct tile *t, size_t r)
{
    return (t->place.b * t->s->T + t->position[r]) * ld_out(t->s) + t->head[r] * t->s->Hd;
}

static inline size_t lse_at(const struct tile *t, size_t r)
{
    return (t->place.b * t->s->H + t->head[r]) * t->s->T + t->position[r];
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

#endif
