/* Who owns which part of a slab: pure arithmetic, the same on every rank.
 *
 * A slab of n floats is cut into buckets; each bucket into one piece per rank, at multiples of
 * SHARD_BLOCK floats counted from the slab's beginning. A rank's shard is its pieces of all
 * buckets, one after the other. Sums of squares are taken per block, so they do not depend on the
 * cut. */
#ifndef CARAT_PAR_SHARD_H
#define CARAT_PAR_SHARD_H

#include <stddef.h>

#define SHARD_BLOCK 4096

struct range {
    size_t first, n;
};

struct shard {
    size_t n;      /* floats in the slab */
    size_t bucket; /* floats a bucket, a multiple of SHARD_BLOCK */
    int n_buckets;
    int size, rank; /* ranks that share the slab, and this one */
};

/* size 1 and rank 0: the whole slab on every rank. bucket_bytes is rounded up to blocks,
 * and at most 256 MiB. */
void shard_init(struct shard *s, size_t n, size_t bucket_bytes, int size, int rank);
struct range shard_bucket(const struct shard *s, int k);
/* The piece of bucket k that rank r owns; may be empty. The extra blocks of uneven buckets go to
 * different ranks in different buckets, so that shards even out. */
struct range shard_piece(const struct shard *s, int k, int r);
/* Floats in rank r's shard, and where its piece of bucket k begins there. */
size_t shard_count(const struct shard *s, int r);
size_t shard_offset(const struct shard *s, int k, int r);

/* Calls visit for each piece of this rank: its range in the slab and its place in the shard. */
void shard_each(const struct shard *s, void (*visit)(void *ctx, struct range slab, size_t at),
                void *ctx);

/* Splits n items (micro-batches) over ranks: rank r has [n·r/size, n·(r+1)/size). */
struct range split_even(size_t n, int size, int r);

#endif
