/* The order in which a rank takes micro-batches, and their reading ahead. */
#ifndef CARAT_TRAIN_FEED_H
#define CARAT_TRAIN_FEED_H

#include "train/trainer.h"

/* The steps of a feed and who takes what of them. */
struct feed_order {
    struct ramp ramp;
    struct ramp_at at; /* done before the first step */
    uint64_t samples;  /* where in the training order it begins */
    int size, rank;
    int64_t micro;
    int64_t passes; /* steps */
};

/* Begins; two requests are made at once. A rank may have no micro-batch in some steps or in all. */
void feed_begin(struct feed *f, struct loader *l, const struct feed_order *order);
/* Begins where the trainer stands, whatever was requested before. */
void feed_restart(struct trainer *t);
/* The next micro-batch of this rank as the model wants it; requests the one after the next. */
int feed_next(struct feed *f, struct batch_view *b, int T);

#endif
