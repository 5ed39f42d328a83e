/* What the bits depend on beside job, data and seed: the processor's kind, the kernels'
 * instructions and the library of matrix products. */
#ifndef CARAT_TRAIN_CONDITIONS_H
#define CARAT_TRAIN_CONDITIONS_H

#include "par/comm.h"

struct conditions {
    char cpu[64];      /* the processor's own name; the kernels' instructions */
    char products[64]; /* library and its kernel */
};

/* Of this process. Local. */
void conditions_here(struct conditions *c);

/* Warns, once, where a rank's conditions are not the first rank's, naming both: the bits then
 * depend on which rank computes what. Collective. E_RANK. */
int conditions_compare(const struct comm *c);

#endif
