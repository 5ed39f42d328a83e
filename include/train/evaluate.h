/* Loss on held-out text. */
#ifndef CARAT_TRAIN_EVALUATE_H
#define CARAT_TRAIN_EVALUATE_H

#include "data/loader.h"
#include "model/model.h"
#include "par/comm.h"

struct evaluation {
    double loss;     /* nats per counted target */
    double accuracy; /* share of targets that had the greatest logit */
    double targets;
};

/* Over samples 0 … n-1 of the loader's order in micro-batches of `micro`, shared over the ranks:
 * the same bits on any number of them. progress (may be NULL) is called on root. Collective. */
int evaluate(const struct comm *c, struct model *m, const float *params, struct loader *l,
             int64_t n, int64_t micro, int T, void (*progress)(double done, double all),
             struct evaluation *out);

#endif
