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
    size_t step = type == BF16 ? 2 * VL : VL, whole = x->Hd / step * step;
    for (size_t r = 0; r < x->n; r++, to += ld) {
        const float *from = x->at[r];
        for (size_t e = 0; type == F32 && e < whole; e += step)
            v_store(to + e, v_load(from + e));
        for (size_t e = 0; type == BF16 && e < whole; e += step)
            v_store(to + e / 2, v_narrow(v_load(from + e), v_load(from + e + VL)));
        if (type == F32 && whole < x->Hd)
            v_store(to + whole, row_vector(x, r, whole));
        if (type == BF16 && whole < x->Hd)
            v_store(to + whole / 2,
                    v_narrow(row_vector(x, r, whole), row_vector(x, r, whole + VL)));
    }
}

/* to[n/2, ld units]: neighbouring rows paired. */
static inline void pack_row_pairs(float *to, size_t ld, const struct rows *x)
{
    size_t whole = x->Hd / VL * VL;
    for (size_t r = 0; r < x->n; r += 2, to += ld) {
        size_t e = 0;
        for (; r + 1 < x->n && e < whole; e += VL)
            v_store(to + e, v_pair(v_load(x->at[r] + e), v_load(x->at[r + 1] + e)));
        for (; e < x->Hd; e += VL)
            v_store(to + e, v_pair(row_vector(x, r, e), row_vector(x, r + 1, e)));
    }
}

/* As operand B of a sum over rows. */
static inline void pack_summed_rows(float *to, size_t ld, const struct rows *x, enum dtype type)
{
    if (type == F32)
        pack_rows(to, ld, x, type);
    else
        pack_row_pairs(to, ld, x);
}

/* A square of VL vectors is turned over by exchanging halves, then quarters and so on. SWAPS names,
 * for each distance h, the rows i that trade lanes with i + h. Written out rather than looped over:
 * the compiler keeps only such squares in registers. */
#define FROM_LOW(l, h)  ((l) & (h) ? VL + (l) - (h) : (l))
#define FROM_HIGH(l, h) ((l) & (h) ? VL + (l) : (l) + (h))
#define SWAP(h, i)                                                                                 \
    swap_lanes(&r[i], &r[(i) + (h)], (vi)LANES_OF(FROM_LOW, h), (vi)LANES_OF(FROM_HIGH, h));
#define SWAP4(h, a, b, c, d) SWAP(h, a) SWAP(h, b) SWAP(h, c) SWAP(h, d)
#define FOUR(DO, a)          DO(a) DO((a) + 1) DO((a) + 2) DO((a) + 3)
#define X4(X, l, h)          X(l, h), X((l) + 1, h), X((l) + 2, h), X((l) + 3, h)
#if defined(__AVX512F__)
#define LANES_OF(X, h)                                                                             \
    {                                                                                              \
        X4(X, 0, h), X4(X, 4, h), X4(X, 8, h), X4(X, 12, h)                                        \
    }
#define SWAPS                                                                                      \
    SWAP4(8, 0, 1, 2, 3)                                                                           \
    SWAP4(8, 4, 5, 6, 7) SWAP4(4, 0, 1, 2, 3) SWAP4(4, 8, 9, 10, 11) SWAP4(2, 0, 1, 4, 5)          \
        SWAP4(2, 8, 9, 12, 13) SWAP4(1, 0, 2, 4, 6) SWAP4(1, 8, 10, 12, 14)
#define EACH_LANE(DO) FOUR(DO, 0) FOUR(DO, 4) FOUR(DO, 8) FOUR(DO, 12)
#elif defined(__AVX__)
#define LANES_OF(X, h)                                                                             \
    {                                                                                              \
        X4(X, 0, h), X4(X, 4, h)                                                                   \
    }
#define SWAPS         SWAP4(4, 0, 1, 2, 3) SWAP4(2, 0, 1, 4, 5) SWAP4(1, 0, 2, 4, 6)
#define EACH_LANE(DO) FOUR(DO, 0) FOUR(DO, 4)
#else
#define LANES_OF(X, h)                                                                             \
    {                                                                                              \
        X4(X, 0, h)                                                                                \
    }
#define SWAPS         SWAP(2, 0) SWAP(2, 1) SWAP(1, 0) SWAP(1, 2)
#define EACH_LANE(DO) FOUR(DO, 0)
#endif

INLINE void swap_lanes(vf *a, vf *b, vi low, vi high)
{
    vf x = *a, y = *b;
    *a = __builtin_shuffle(x, y, low);
    *b = __builtin_shuffle(x, y, high);
}

/* to[units, LD_SCORES] from the VL rows from `row` on, their floats from e on. */
INLINE void pack_square(float *to, const struct rows *x, size_t row, size_t e, bool whole,
                        enum dtype type)
{
    vf r[VL];
#define TAKE(i) r[i] = whole ? v_load(x->at[row + (i)] + e) : row_vector(x, row + (i), e);
#define PUT(i)                                                                                     \
    if (type == F32 && (whole || e + (i) < x->Hd))                                                 \
        v_store(to + (i)*LD_SCORES, r[i]);                                                         \
    if (type == BF16 && (i) % 2 == 0 && (whole || e + (i) < x->Hd))                                \
        v_store(to + (i) / 2 * LD_SCORES, v_pair(r[i], r[(i) | 1]));
    EACH_LANE(TAKE)
    SWAPS
    EACH_LANE(PUT)
#undef TAKE
#undef PUT
}

INLINE void pack_squares(float *to, const struct rows *x, enum dtype type)
{
    for (size_t row = 0; row < x->n; row += VL)
        for (size_t e = 0; e < x->Hd; e += VL) {
            float *at = to + unit_floor(e, type) * LD_SCORES + row;
            if (row + VL <= x->n && e + VL <= x->Hd)
                pack_square(at, x, row, e, true, type);
            else
                pack_square(at, x, row, e, false, type);
        }
}

/* to[units of Hd, LD_SCORES] from at most BLOCK_KEYS rows: their transpose, neighbours of a row
 * paired; whole vectors of columns, zeros behind the last row. */
static inline void pack_transposed(float *to, const struct rows *x, enum dtype type)
{
    if (type == BF16)
        pack_squares(to, x, BF16);
    else
        pack_squares(to, x, F32);
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
