/* The packed reduction: everything that ranks must add or agree on at a point, in one message. */
#ifndef CARAT_TRAIN_SUMS_H
#define CARAT_TRAIN_SUMS_H

#include "model/model.h"
#include "par/exactsum.h"

struct sums {
    struct exactsum loss;  /* of token losses, nats */
    struct exactsum sumsq; /* of the summed gradient */
    struct exactsum each;  /* of micro-batches' squared gradients, each over its targets */
    int64_t targets, correct;
    int64_t n_each;     /* micro-batches in `each` */
    int64_t stop, save; /* ranks that ask for it */
    int64_t saving;     /* ranks that still write a checkpoint */
    int64_t owing;      /* ranks whose rows of metrics are not yet on the disk as asked for */
    int64_t errors;     /* ranks that failed */
    uint32_t given;     /* a checksum of what this rank added: not summed up */
};

/* Adds what one micro-batch yielded. */
void sums_add_pass(struct sums *s, const struct pass_result *r);

/* Every rank gets the sums over all; a rank with rc ≠ OK counts as failed, and all ranks then
 * return the same error. Collective. */
int sums_reduce(const struct comm *c, struct sums *s, int rc);

#endif
