/* The reducer's inside: buckets on their way from all ranks to the owners of their pieces. For
 * reduce.c and buckets.c alone. */
#ifndef CARAT_PAR_BUCKETS_H
#define CARAT_PAR_BUCKETS_H

#include "base/mem.h"
#include "base/prof.h"
#include "par/comm.h"
#include "par/exactsum.h"
#include "par/shard.h"
#include "par/squares.h"
#include "par/sumplan.h"
#include "par/window.h"

#include <stdatomic.h>

/* Buckets under way at a time: enough to keep messages flowing while one is folded. */
enum { N_SLOTS = 4 };

/* A bucket under way between teams. */
struct slot {
    MPI_Request *request; /* [n_requests] n_received that come, then those that go */
    char *received;       /* [n_received][elements in the piece], in the wire's type */
};

/* What a rank tells its team, in its part of the window; each field in a cache line of its own. */
struct board {
    _Alignas(64) _Atomic uint64_t ready;   /* buckets that are final, counted over all steps */
    _Alignas(64) _Atomic uint64_t through; /* steps in which it has read what it needs */
};

struct reducer {
    struct comm comm; /* its world is a duplicate: nobody else's messages come between */
    struct shard shard;
    bool exact;
    enum dtype wire;
    int64_t n_micro;
    struct prof *prof;

    struct sumplan plan;
    struct sumlists lists;
    struct arena arena;
    int n_requests; /* of a slot */
    struct slot slot[N_SLOTS];
    float *tiles; /* [n_tiles + 1]: the last for a root on its way to the wire */

    struct window *window;
    int me, n_team;       /* this rank in its team, and the team's ranks */
    struct board **board; /* [team's ranks] */
    float **block;        /* [n_blocks] the slabs with the team's blocks */
    float *slab[SUMTREE_DEPTH];

    /* This rank's micro-batches. */
    uint64_t step; /* this one's number, from 1 */
    struct range mine;
    size_t n_done;
    struct sumtree tree;
    int top, merges; /* the slab of the one being computed, and the additions that follow it */

    /* Buckets, from the last to the first; -1: none left. */
    int to_send, to_fold;
    struct exactsum sumsq;
    struct squares by_group; /* the same by groups of tensors, where group_sum is set */
    struct exactsum *group_sum;
    bool measures; /* each micro-batch's own sum of squares */
    double squares_here, last_squares;
    double bytes; /* moved since the last lap */
    int rc;
};

/* A step begins; its plan and mine are set. Receives what comes first. Local. E_RANK. */
int buckets_begin(struct reducer *r);
/* Tells the team that all buckets at or above `low` are final. Local. */
void buckets_publish(struct reducer *r, size_t low);
/* Sends on and sums up what has come, without waiting; *moved: there was something. Local. E_RANK.
 */
int buckets_advance(struct reducer *r, bool *moved);
/* Waits for and sums up all that are left. Collective. E_RANK. */
int buckets_drain(struct reducer *r);
/* Waits until the team has read all that it needs of the last step: then this rank's slabs can be
 * written again. Collective over the team. E_RANK. */
int buckets_reclaim(struct reducer *r);

#endif
