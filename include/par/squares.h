/* Sums of squares of a slab by groups of its tensors, whatever the slab is cut into.
 *
 * The squares of each block of SHARD_BLOCK floats, cut at the tensors' ends too, are summed in a
 * fixed order in double; these partial sums are added exactly. Blocks counted from the beginning of
 * a shard's zone end them as well, since zones are cut by whole ones. So a group's sum does not
 * depend on who adds which part, as long as parts end at blocks, tensors or such cuts. */
#ifndef CARAT_PAR_SQUARES_H
#define CARAT_PAR_SQUARES_H

#include "par/exactsum.h"
#include "par/shard.h"

/* The tensors in the order of the slab: gaps count to the one before them. */
struct squares_of {
    size_t end;
    int group;
    size_t origin; /* where its zone begins (par/shard.h); 0 when it lies in none */
};
struct squares {
    const struct squares_of *part; /* borrowed; the last ends at the slab's end */
    int n_parts, n_groups;
};

/* Adds x[n], which stands for [first, first+n) of the slab, to sum[n_groups]. Local. */
void squares_add(const struct squares *q, struct exactsum *sum, const float *x, size_t first,
                 size_t n);

#endif
