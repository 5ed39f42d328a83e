/* The loader: which sample is where in the training order, and reading ahead of the computation.
 *
 * The stream of a split is cut into samples of T+1 tokens with stride T. Position c of the training
 * order (samples consumed so far) is sample perm(seed, epoch = c / n_samples, c mod n_samples):
 * nothing depends on ranks. */
#ifndef CARAT_DATA_LOADER_H
#define CARAT_DATA_LOADER_H

#include "data/store.h"
#include <stdbool.h>

enum boundary {
    BOUNDARY_NONE,     /* documents run into each other */
    BOUNDARY_LOSS,     /* the first token of a document is no target */
    BOUNDARY_ATTENTION /* that, and attention does not look past the document's start */
};

struct loader_options {
    int T; /* tokens a sample */
    uint64_t seed;
    bool shuffle; /* false: in file order (validation) */
    enum boundary boundary;
    int max_samples; /* the most one loader_want asks for */
};

/* Samples in order, as model.h's batch_view wants them; borrowed until the next loader_next. */
struct sample_block {
    int n;                         /* samples */
    const int32_t *token, *target; /* [n,T] */
    const float *weight;           /* [n,T] or NULL */
    const int32_t *start;          /* [n,T] or NULL */
    uint64_t first;                /* place of the first in the training order */
};

struct loader;

/* The store stays the caller's. E_DATA when the split has fewer than T+1 tokens; E_MEM. Starts one
 * reading thread (pread only: no HDF5, no MPI). */
int loader_new(struct loader **out, const struct store *s, const struct loader_options *o);
void loader_free(struct loader *l);
uint64_t loader_n_samples(const struct loader *l);

/* Asks the thread for samples at positions first … first+n-1 of the training order; they are read
 * while the caller computes. Two requests may be outstanding. */
void loader_want(struct loader *l, uint64_t first, int n);
/* Waits for all requests and drops what they read. */
void loader_drop(struct loader *l);
/* Waits for the oldest request. The error of its reading, if any. */
int loader_next(struct loader *l, struct sample_block *out);

#endif
