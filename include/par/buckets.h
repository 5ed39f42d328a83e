/* The reducer's inside: buckets on their way from all ranks to the owners of their pieces. For
 * reduce.c and buckets.c alone. */
#ifndef CARAT_PAR_BUCKETS_H
#define CARAT_PAR_BUCKETS_H

#include "base/mem.h"
#include "par/comm.h"
#include "par/fold.h"
#include "par/shard.h"
#include "par/sumplan.h"

/* Buckets under way at a time: enough to keep messages flowing while one is folded. */
enum { N_SLOTS = 4 };

/* MPI_Ialltoallv's arguments, which must stay until it ends. */
enum { SEND_COUNT, SEND_AT, RECV_COUNT, RECV_AT, N_ARGS };

/* A bucket under way. */
struct slot {
    int k;
    MPI_Request *request; /* [n_rounds], or one when memory is read */
    int *args;            /* [n_rounds][N_ARGS][size] */
    float *received;      /* [n_received][floats in the piece] */
};

struct reducer {
    struct comm comm; /* its world is a duplicate: nobody else's messages come between */
    struct shard shard;
    bool exact;
    float *const **stack_of; /* [size] where each rank keeps its slab[], for peers_read */

    /* A step's plan, and the memory that is cut by it. */
    int64_t n_micro;
    struct sumplan plan, room;
    struct arena arena;
    int *first_block;
    struct fold_term *term;
    const float **theirs; /* [n_blocks] the blocks in their ranks' address spaces */
    float *tiles;
    struct slot slot[N_SLOTS];
    float *slab[SUMTREE_DEPTH];
    float *spare; /* for the sum, on a rank without a slab */

    /* This rank's micro-batches. */
    struct range mine;
    size_t n_done;
    struct sumtree tree;
    int top, merges; /* the slab of the one being computed, and the additions that follow it */

    /* Buckets, from the last to the first; -1: none left. */
    int to_start, to_fold, to_settle;
    bool found; /* theirs[] is this step's */
    float *sum; /* this rank's shard of the sum */
    int rc;
    double wait_s;
};

/* Nothing has been started; the step's plan, mine and sum are set. */
void buckets_begin(struct reducer *r);
/* Starts the buckets at or above `low` as far as can be, and sums up what has come, without
 * waiting. Local. E_RANK. */
int buckets_advance(struct reducer *r, size_t low);
/* Starts, waits for and sums up all that are left. Collective. E_RANK. */
int buckets_drain(struct reducer *r);

#endif
