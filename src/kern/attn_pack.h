/* Operands of attention's products: rows of heads, copied, transposed or paired, in single
 * precision or as bfloat16. Rows come as pointers, as they do not lie evenly. */
#ifndef CARAT_SRC_KERN_ATTN_PACK_H
#define CARAT_SRC_KERN_ATTN_PACK_H

#include "attn_tile.h"

/* Rows from several places, at most as many as a tile or a block has; n of them, Hd floats each. */
struct rows {
    const float *at[TILE_ROWS > BLOCK_KEYS ? TILE_ROWS : BLOCK_KEYS];
    size_t n, Hd;
};

/* Row r's floats from e on, zeros beyond its end and beyond the last row. */
INLINE vf row_vector(const struct rows *x, size_t r, size_t e)
{
    return r < x->n && e < x->Hd ? v_load_part(x->at[r] + e, x->Hd - e) : (vf){0};
}

/* to[n, ld units]: rows as they are, neighbours of a row paired. */
static inline void pack_rows(float *to, size_t ld, const struct rows *x, enum dtype type)
{
    for (size_t r = 0; r < x->n; r++)
        if (type == F32)
            for (size_t e = 0; e < x->Hd; e += VL)
                v_store(to + r * ld + e, row_vector(x, r, e));
        else
            for (size_t e = 0; e < x->Hd; e += 2 * VL)
                v_store(to + r * ld + e / 2,
                        v_narrow(row_vector(x, r, e), row_vector(x, r, e + VL)));
}

/* to[n/2, ld units]: neighbouring rows paired. */
static inline void pack_row_pairs(float *to, size_t ld, const struct rows *x)
{
    for (size_t r = 0; r < x->n; r += 2)
        for (size_t e = 0; e < x->Hd; e += VL)
            v_store(to + r / 2 * ld + e, v_pair(row_vector(x, r, e), row_vector(x, r + 1, e)));
}

/* As operand B of a sum over rows. */
static inline void pack_summed_rows(float *to, size_t ld, const struct rows *x, enum dtype type)
{
    if (type == F32)
        pack_rows(to, ld, x, type);
    else
        pack_row_pairs(to, ld, x);
}

/* A square of VL vectors is turned over by exchanging halves, then quarters and so on. EACH_SWAP
 * names, for a distance of h, the rows i that trade lanes with i + h. */
#if defined(__AVX512F__)
#define INDICES(X, h)                                                                              \
    {                                                                                              \
        X(0, h), X(1, h), X(2, h), X(3, h), X(4, h), X(5, h), X(6, h), X(7, h), X(8, h), X(9, h),  \
            X(10, h), X(11, h), X(12, h), X(13, h), X(14, h), X(15, h)                             \
    }
#define SWAPS(r)                                                                                   \
    SWAP4(r, 8, 0, 1, 2, 3)                                                                        \
    SWAP4(r, 8, 4, 5, 6, 7) SWAP4(r, 4, 0, 1, 2, 3) SWAP4(r, 4, 8, 9, 10, 11)                      \
        SWAP4(r, 2, 0, 1, 4, 5) SWAP4(r, 2, 8, 9, 12, 13) SWAP4(r, 1, 0, 2, 4, 6)                  \
            SWAP4(r, 1, 8, 10, 12, 14)
#elif defined(__AVX__)
#define INDICES(X, h)                                                                              \
    {                                                                                              \
        X(0, h), X(1, h), X(2, h), X(3, h), X(4, h), X(5, h), X(6, h), X(7, h)                     \
    }
#define SWAPS(r) SWAP4(r, 4, 0, 1, 2, 3) SWAP4(r, 2, 0, 1, 4, 5) SWAP4(r, 1, 0, 2, 4, 6)
#else
#define INDICES(X, h)                                                                              \
    {                                                                                              \
        X(0, h), X(1, h), X(2, h), X(3, h)                                                         \
    }
#define SWAPS(r) SWAP(r, 2, 0) SWAP(r, 2, 1) SWAP(r, 1, 0) SWAP(r, 1, 2)
#endif
#define FROM_LOW(l, h)  ((l) & (h) ? VL + (l) - (h) : (l))
#define FROM_HIGH(l, h) ((l) & (h) ? VL + (l) : (l) + (h))
#define SWAP(r, h, i)                                                                              \
    swap_lanes(&(r)[i], &(r)[(i) + (h)], (vi)INDICES(FROM_LOW, h), (vi)INDICES(FROM_HIGH, h));
#define SWAP4(r, h, a, b, c, d) SWAP(r, h, a) SWAP(r, h, b) SWAP(r, h, c) SWAP(r, h, d)

INLINE void swap_lanes(vf *a, vf *b, vi low, vi high)
{
    vf x = *a, y = *b;
    *a = __builtin_shuffle(x, y, low);
    *b = __builtin_shuffle(x, y, high);
}

/* VL rows from r on, their floats from e on: column by column. */
INLINE void turn_square(vf *column, const struct rows *x, size_t r, size_t e)
{
    for (size_t i = 0; i < VL; i++)
        column[i] = row_vector(x, r + i, e);
    SWAPS(column)
}

/* to[units of Hd, LD_SCORES] from at most BLOCK_KEYS rows: their transpose, neighbours of a row
 * paired; whole vectors of columns, zeros behind the last row. */
static inline void pack_transposed(float *to, const struct rows *x, enum dtype type)
{
    vf column[VL];
    for (size_t r = 0; r < x->n; r += VL)
        for (size_t e = 0; e < x->Hd; e += VL) {
            turn_square(column, x, r, e);
            if (type == F32)
                for (size_t i = 0; i < min_size(VL, x->Hd - e); i++)
                    v_store(to + (e + i) * LD_SCORES + r, column[i]);
            else
                for (size_t i = 0; i < min_size(VL, x->Hd - e); i += 2)
                    v_store(to + (e + i) / 2 * LD_SCORES + r, v_pair(column[i], column[i + 1]));
        }
}

/* The block's rows of qkv from key k0 on, starting at column `column`. */
static inline void rows_of_block(struct rows *x, const float *qkv, size_t b, size_t k0,
                                 size_t column, const struct attention_shape *s)
{
    x->n = min_size(BLOCK_KEYS, s->T - k0);
    x->Hd = s->Hd;
    for (size_t j = 0; j < x->n; j++)
        x->at[j] = qkv + (b * s->T + k0 + j) * ld_qkv(s) + column;
}

static inline size_t key_column(const struct attention_shape *s, size_t kv)
{
    return (s->H + kv) * s->Hd;
}

static inline size_t value_column(const struct attention_shape *s, size_t kv)
{
    return (s->H + s->K + kv) * s->Hd;
}

#endif
