#include "par/shard.h"

/* In floats. MPI counts in int, and the partial sums of a bucket that come in lie side by side. */
#define BUCKET_MAX ((size_t)1 << 26)

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t blocks_of(size_t n)
{
    return n / SHARD_BLOCK + (n % SHARD_BLOCK != 0);
}

void shard_init(struct shard *s, size_t n, size_t bucket_bytes, int size, int rank)
{
    size_t floats = min_of(bucket_bytes / sizeof(float), BUCKET_MAX);
    size_t blocks = blocks_of(floats);
    *s = (struct shard){.n = n, .size = size, .rank = rank};
    s->bucket = (blocks > 0 ? blocks : 1) * SHARD_BLOCK;
    s->n_buckets = (int)(n / s->bucket + (n % s->bucket != 0));
}

struct range shard_bucket(const struct shard *s, int k)
{
    size_t first = (size_t)k * s->bucket;
    return (struct range){first, min_of(s->bucket, s->n - first)};
}

/* Blocks that a full bucket holds beyond an even share; they are dealt out in turn, and bucket k
 * goes on where bucket k-1 stopped. */
static size_t spare_blocks(const struct shard *s)
{
    return s->bucket / SHARD_BLOCK % (size_t)s->size;
}

/* How many of the ranks below r get one of `spare` blocks dealt out from rank `from` on. */
static size_t spares_below(size_t r, size_t from, size_t spare, size_t size)
{
    size_t straight = min_of(spare, size - from), wrapped = spare - straight;
    return (r > from ? min_of(r - from, straight) : 0) + min_of(r, wrapped);
}

struct range shard_piece(const struct shard *s, int k, int r)
{
    struct range b = shard_bucket(s, k);
    size_t size = (size_t)s->size, at = (size_t)r, blocks = blocks_of(b.n);
    size_t even = blocks / size, spare = blocks % size;
    size_t from = (size_t)k % size * spare_blocks(s) % size;
    size_t first = at * even + spares_below(at, from, spare, size);
    size_t end = (at + 1) * even + spares_below(at + 1, from, spare, size);
    first = min_of(first * SHARD_BLOCK, b.n);
    end = min_of(end * SHARD_BLOCK, b.n);
    return (struct range){b.first + first, end - first};
}

size_t shard_offset(const struct shard *s, int k, int r)
{
    size_t size = (size_t)s->size, n = (size_t)k;
    size_t dealt = n * spare_blocks(s);
    size_t spares = (dealt + size - 1 - (size_t)r) / size; /* every size-th, from the r-th on */
    return (n * (s->bucket / SHARD_BLOCK / size) + spares) * SHARD_BLOCK;
}

size_t shard_count(const struct shard *s, int r)
{
    if (s->n_buckets == 0)
        return 0;
    int last = s->n_buckets - 1;
    return shard_offset(s, last, r) + shard_piece(s, last, r).n;
}

void shard_each(const struct shard *s, void (*visit)(void *ctx, struct range slab, size_t at),
                void *ctx)
{
    for (int k = 0; k < s->n_buckets; k++) {
        struct range piece = shard_piece(s, k, s->rank);
        if (piece.n > 0)
            visit(ctx, piece, shard_offset(s, k, s->rank));
    }
}

struct range split_even(size_t n, int size, int r)
{
    /* The product of all three could overflow; n = q·size + m splits it. */
    size_t p = (size_t)size, q = n / p, m = n % p, at = (size_t)r;
    size_t first = q * at + m * at / p, end = q * (at + 1) + m * (at + 1) / p;
    return (struct range){first, end - first};
}
