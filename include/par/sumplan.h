/* What the sum over micro-batches takes in one step: pure arithmetic, the same on every rank but
 * for the fields that say otherwise. */
#ifndef CARAT_PAR_SUMPLAN_H
#define CARAT_PAR_SUMPLAN_H

#include "par/fold.h"
#include "par/shard.h"
#include "par/sumtree.h"

struct sumplan {
    int n_slabs;    /* this rank's stack at its greatest height, newest micro-batch included */
    int n_received; /* partial sums that the other ranks end with */
    int n_blocks;   /* ... and all ranks */
    int n_rounds;   /* ... and at most any one; 0 when there is nobody to send to */
    int n_tiles;    /* partial sums that the owner of a piece has at hand */
};

/* Takes micro-batch i of a rank's range onto the rank's stack; returns the additions that follow.
 * With one rank the last stays by itself: the fold reads it anyway, and a pass is saved. */
int sumplan_stack(struct sumtree *t, struct range mine, size_t i, int size);

/* The plan of a step of n_micro. When not NULL: first_block[size + 1], rank r ends with the blocks
 * first_block[r] … first_block[r+1]-1; and the merges of term[n_blocks]. */
struct sumplan sumplan_of(const struct shard *s, bool exact, int64_t n_micro, int *first_block,
                          struct fold_term *term);
/* Room for both. */
struct sumplan sumplan_max(const struct sumplan *a, const struct sumplan *b);

#endif
