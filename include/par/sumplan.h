/* What the sum over micro-batches takes in one step: pure arithmetic.
 *
 * A rank ends its micro-batches with blocks, partial sums on its stack. A team adds its ranks'
 * blocks up to roots, as far as the tree allows it; those go to the owner of a piece. The owner
 * finishes the tree: with the blocks of its own team, which it reads in place, and the other teams'
 * roots. */
#ifndef CARAT_PAR_SUMPLAN_H
#define CARAT_PAR_SUMPLAN_H

#include "par/fold.h"
#include "par/sumtree.h"
#include "par/team.h"

/* The same on every rank of a team but for n_slabs. */
struct sumplan {
    int n_slabs;    /* this rank's stack at its greatest height, newest micro-batch included; at
                       least 1, for the sum */
    int n_blocks;   /* that this rank's team ends with */
    int n_roots;    /* that they add up to */
    int n_received; /* roots of the other teams */
    int n_tiles;    /* partial sums that a fold has at hand */
};

/* Where the plan's parts are; the caller's arrays. */
struct sumlists {
    int *rank_block; /* [team's ranks + 1] where the blocks of its i-th rank begin */
    int *root_block; /* [n_blocks + 1] where the blocks of a root begin, n_roots + 1 of them */
    struct fold_term *part;  /* [n_blocks] merges: the team's blocks to roots */
    int *team_root;          /* [teams + 1] where the roots of team j begin; this team: none */
    struct fold_term *whole; /* [n_received + n_blocks] merges of the whole sum; this team's blocks
                                come after the roots of those before it */
};

/* Takes micro-batch i of a rank's range onto the rank's stack; returns the additions that follow.
 * The last stays by itself: the fold reads it anyway, and a pass is saved. */
int sumplan_stack(struct sumtree *t, struct range mine, size_t i);

/* The plan of a step of n_micro; fills the lists when not NULL. */
struct sumplan sumplan_of(const struct team *t, bool exact, int64_t n_micro,
                          const struct sumlists *lists);

#endif
