/* The gradient's sum over micro-batches and ranks.
 *
 * exact: the sum is a fixed binary tree over the global micro-batch index 0 … M-1: node (l, j) is
 * micro-batches [j·2^l, (j+1)·2^l) and the sum of its two children, left + right; past M, what is
 * left is folded from the right. A rank owns a contiguous range of micro-batches, sums the complete
 * nodes inside it as they come (a binary counter of slabs) and sends the roots of what it has; the
 * owner of a piece finishes the tree. So every sum has the same order on any number of ranks.
 * fast: each rank adds its micro-batches into one slab, the owner adds the ranks' in rank order.
 *
 * Pieces travel bucket by bucket with MPI_Ialltoallv: each float is sent once, as in a
 * reduce-scatter. Buckets of the last micro-batch start while earlier layers still compute. */
#ifndef CARAT_PAR_REDUCE_H
#define CARAT_PAR_REDUCE_H

#include "par/comm.h"
#include "par/shard.h"
#include <stdbool.h>
#include <stdint.h>

struct reducer;

struct reduce_options {
    bool exact;
    int64_t max_micro; /* the most micro-batches a step has, over all ranks; room is made for steps
                          of exactly these. A step of fewer may need more room (its ranges fit the
                          tree worse), which reducer_begin then makes and keeps */
};

/* The shard says who owns what (copied). Collective. E_MEM. */
int reducer_new(struct reducer **r, const struct comm *c, const struct shard *s,
                const struct reduce_options *o);
void reducer_free(struct reducer *r);
/* Bytes that reducer_new holds on one rank: for plans. Exact for rank `rank` of `s`. */
size_t reducer_bytes(const struct shard *s, const struct reduce_options *o);

/* Begins a step of n_micro micro-batches in all; returns this rank's range of them. Local. */
struct range reducer_begin(struct reducer *r, int64_t n_micro);
/* The slab that the next micro-batch (in order, the range's first first) must write its gradient
 * to; overwritten content. Local. */
float *reducer_slab(struct reducer *r);
/* That slab's [first, first+n) is final: merges it, and starts buckets in the last micro-batch.
 * A grad_ready_fn with the reducer as ctx; ranges descend and cover the slab. Does not fail: an MPI
 * error is kept for reducer_finish. */
void reducer_ready(void *reducer, size_t first, size_t n);
/* Waits for all buckets; out[shard_count] is this rank's shard of the sum over all micro-batches.
 * out may be NULL, which saves a copy: the sum is at reducer_sum. Ranks without a micro-batch take
 * part. When MPI fails, the others wait for messages that will not come: fatal(E_RANK). Collective.
 */
int reducer_finish(struct reducer *r, float *out);
/* The same shard in the reducer's own memory; valid until the next reducer_begin. The caller may
 * change it. Local. */
float *reducer_sum(struct reducer *r);
/* Seconds of the last reducer_finish spent waiting for messages. */
double reducer_wait_s(const struct reducer *r);

/* Sum of squares of this rank's shard, per block, into an exact sum: order-free. Local. */
struct exactsum;
void reduce_sumsq(struct exactsum *out, const struct shard *s, const float *shard_values);

#endif
