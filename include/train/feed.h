/* The order in which a rank takes micro-batches, and their reading ahead. */
#ifndef CARAT_TRAIN_FEED_H
#define CARAT_TRAIN_FEED_H

#include "train/trainer.h"

/* Begins at a sample position; two requests are made at once. `mine` may be empty. passes: how many
 * times the micro-batches of `global` samples are taken (steps). */
void feed_begin(struct feed *f, struct loader *l, struct range mine, uint64_t samples,
                int64_t global, int64_t micro, int64_t passes);
/* The next micro-batch of this rank as the model wants it; requests the one after the next. */
int feed_next(struct feed *f, struct batch_view *b, int T);
/* Takes what is requested and requests nothing more: feed_begin may follow. */
int feed_drain(struct feed *f);

#endif
