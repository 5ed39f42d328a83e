#include "par/exactsum.h"
#include "par/reduce.h"

/* Independent partial sums, so that additions need not wait for each other. */
enum { LANES = 16 };

/* In double, where the square of a float is exact; the order depends on n alone. */
static double sumsq_block(const float *x, size_t n)
{
    double lane[LANES] = {0};
    size_t body = n / LANES * LANES;
    for (size_t i = 0; i < body; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)x[i + (size_t)l] * (double)x[i + (size_t)l];
    for (size_t i = body; i < n; i++)
        lane[i - body] += (double)x[i] * (double)x[i];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

struct sumsq {
    struct exactsum *sum;
    const float *values;
};

static void add_piece(void *ctx, struct range slab, size_t at)
{
    struct sumsq *q = ctx;
    /* A piece begins at a block of the slab and only its last block can be short, at the slab's
     * end; so whoever owns them, the blocks are the same. */
    for (size_t done = 0, n; done < slab.n; done += n) {
        n = slab.n - done < SHARD_BLOCK ? slab.n - done : SHARD_BLOCK;
        exactsum_add(q->sum, sumsq_block(q->values + at + done, n));
    }
}

void reduce_sumsq(struct exactsum *out, const struct shard *s, const float *shard_values)
{
    struct sumsq q = {out, shard_values};
    exactsum_clear(out);
    shard_each(s, add_piece, &q);
}
