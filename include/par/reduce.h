/* The gradient's sum over micro-batches and ranks.
 *
 * exact: the sum is a fixed binary tree over the global micro-batch index 0 … M-1: node (l, j) is
 * micro-batches [j·2^l, (j+1)·2^l) and the sum of its two children, left + right; past M, what is
 * left is folded from the right. A rank owns a contiguous range of micro-batches and sums the
 * complete nodes inside it as they come (a binary counter of slabs). The ranks of a team keep their
 * slabs in shared memory; the owner of a piece reads it there from all of them in one pass, takes
 * the sum of its squares while it is in the cache, and leaves the sum in its own first slab.
 * Between teams travel only the roots of what a team has, each piece once, bucket by bucket,
 * without blocking; the owner finishes the tree. So every sum has the same order on any number of
 * ranks, teams and nodes.
 * fast: one running sum over the ranks' running sums, in their order, by teams.
 *
 * Buckets of the last micro-batch are summed and sent while earlier layers still compute. */
#ifndef CARAT_PAR_REDUCE_H
#define CARAT_PAR_REDUCE_H

#include "base/half.h"
#include "base/prof.h"
#include "par/comm.h"
#include "par/exactsum.h"
#include "par/shard.h"
#include "par/squares.h"
#include <stdbool.h>
#include <stdint.h>

struct reducer;

enum { REDUCE_MAX_OTHER = 32 };

struct reduce_options {
    bool exact;
    enum dtype wire; /* between teams. BF16 rounds what a team sends, so that the sum depends on who
                        is in which team: for fast sums alone */
    int64_t n_micro; /* micro-batches of a step, over all ranks */
    /* Of other steps, where their number changes: see reducer_set_micros. */
    int64_t other[REDUCE_MAX_OTHER];
    int n_other;
};

/* The shard says who owns what (copied). Where shared memory has no room, ranks are taken as teams
 * of one. Collective. E_MEM, E_CONFIG. */
int reducer_new(struct reducer **r, const struct comm *c, const struct shard *s,
                const struct reduce_options *o);
/* Collective. NULL is allowed. */
void reducer_free(struct reducer *r);
/* Bytes that reducer_new holds on rank t->rank of such teams: for plans. Exact. */
size_t reducer_bytes(const struct team *t, const struct shard *s, const struct reduce_options *o);
/* Charges what follows to PROF_REDUCE_HIDDEN (in reducer_ready) and PROF_REDUCE (in
 * reducer_finish). Borrowed; NULL: nothing is measured. Local. */
void reducer_set_prof(struct reducer *r, struct prof *p);

/* Micro-batches of the steps that follow: one of the options' numbers, the same on every rank;
 * between two steps. Nothing is allocated. Local. */
void reducer_set_micros(struct reducer *r, int64_t n_micro);
/* From the next step on sum[by->n_groups] (borrowed, as is by->part) gets the squares of this rank's
 * pieces by group. Local. */
void reducer_set_groups(struct reducer *r, const struct squares *by, struct exactsum *sum);
/* Whether each micro-batch's sum of squares is taken, on its way through reducer_ready. Local. */
void reducer_measure(struct reducer *r, bool yes);
/* That of the micro-batch which was given last; the same on whichever rank. Local. */
double reducer_last_squares(const struct reducer *r);

/* Begins a step; returns this rank's range of its micro-batches. Local. */
struct range reducer_begin(struct reducer *r);
/* The slab that the next micro-batch (in order, the range's first first) must write its gradient
 * to; overwritten content. Waits for the team to be through with the last step. */
float *reducer_slab(struct reducer *r);
/* That slab's [first, first+n) is final: merges it, and sums up and sends what the team has
 * finished in the last micro-batch. A grad_ready_fn with the reducer as ctx; ranges descend and
 * cover the slab. Does not fail: an MPI error is kept for reducer_finish. */
void reducer_ready(void *reducer, size_t first, size_t n);
/* Waits for all buckets; then the sum and its squares are there. Ranks without a micro-batch take
 * part. When MPI fails, the others wait for messages that will not come: fatal(E_RANK). Collective.
 */
int reducer_finish(struct reducer *r);
/* A slab that holds the sum over all micro-batches in this rank's pieces; elsewhere anything. Valid
 * until the next reducer_begin. The caller may change it. Local. */
float *reducer_sum(struct reducer *r);
/* The sum of squares over these pieces; over all ranks it depends on no cut. Local. */
const struct exactsum *reducer_sumsq(const struct reducer *r);

#endif
