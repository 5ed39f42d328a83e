/* Who owns which part of a slab: pure arithmetic, the same on every rank.
 *
 * A slab of n floats is divided into zones, by default one that is all of it. A zone is cut into
 * buckets; each bucket into one piece per rank, at multiples of the zone's unit counted from the
 * zone's beginning, or it belongs to one rank as a whole. A rank's shard is its pieces of all
 * buckets, one after the other. What lies in no zone is nobody's: it is neither summed nor passed
 * on. Units are whole SHARD_BLOCKs, by which sums of squares are taken, so that these do not depend
 * on the cut. */
#ifndef CARAT_PAR_SHARD_H
#define CARAT_PAR_SHARD_H

#include <stdbool.h>
#include <stddef.h>

#define SHARD_BLOCK 4096

struct range {
    size_t first, n;
};

/* Zones are in order, without overlap. */
struct shard_zone {
    size_t first, n; /* floats of the slab; n > 0 */
    size_t unit;     /* floats, a multiple of SHARD_BLOCK, that one rank has together; 0: all */
    /* What shard_deal fills in. */
    size_t bucket; /* floats a bucket */
    int at_bucket; /* the zone's first one, counted through all zones */
    int from;      /* the rank that has all of it, or that gets the first spare unit */
};

struct shard {
    size_t n;                       /* floats in the slab */
    const struct shard_zone *zones; /* borrowed; NULL: the one below */
    struct shard_zone all;
    int n_zones, n_buckets;
    int size, rank; /* ranks that share the slab, and this one */
};

/* One zone, with units of SHARD_BLOCK. size 1 and rank 0: the whole slab on every rank.
 * bucket_bytes is rounded up to blocks, and at most 256 MiB. */
void shard_init(struct shard *s, size_t n, size_t bucket_bytes, int size, int rank);
/* The same with zones, which have been dealt for so many ranks; the deal also fits size 1. */
void shard_init_zones(struct shard *s, size_t n, const struct shard_zone *zones, int n_zones,
                      int size, int rank);
/* Cuts zones into buckets and gives them to ranks: zones of one rank each to the rank that has
 * least so far, the largest first; spare units of the others in turn. E_MEM. */
int shard_deal(struct shard_zone *zones, int n_zones, size_t bucket_bytes, int size);

struct range shard_bucket(const struct shard *s, int k);
/* The zone that bucket k lies in. */
const struct shard_zone *shard_zone_of(const struct shard *s, int k);
/* The first bucket that begins at or above `low`; n_buckets when there is none. */
int shard_bucket_from(const struct shard *s, size_t low);
/* The piece of bucket k that rank r owns; may be empty. The extra units of uneven buckets go to
 * different ranks in different buckets, so that shards even out. */
struct range shard_piece(const struct shard *s, int k, int r);
/* Floats of the largest piece that any rank can have. */
size_t shard_piece_most(const struct shard *s);
/* Floats that have owners. */
size_t shard_total(const struct shard *s);
/* Floats in rank r's shard, and where its piece of bucket k begins there. */
size_t shard_count(const struct shard *s, int r);
size_t shard_offset(const struct shard *s, int k, int r);
/* Whether [first, first+n) has owners. It lies in a zone or outside all. */
bool shard_holds(const struct shard *s, size_t first, size_t n);

/* Calls visit for each piece of this rank: its range in the slab and its place in the shard. Pieces
 * that follow each other in a zone of one rank come as one. */
void shard_each(const struct shard *s, void (*visit)(void *ctx, struct range slab, size_t at),
                void *ctx);

/* Splits n items (micro-batches) over ranks: rank r has [n·r/size, n·(r+1)/size). */
struct range split_even(size_t n, int size, int r);

#endif
