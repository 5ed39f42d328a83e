/* A trainer's state kept in memory, to come back to: parameters and optimizer state of this rank's
 * shard, the numbers that go from step to step, and the place in the data. */
#ifndef CARAT_TRAIN_MARK_H
#define CARAT_TRAIN_MARK_H

#include "train/trainer.h"

struct mark;

/* Keeps the present state. Collective. E_MEM. */
int mark_take(struct mark **m, struct trainer *t);
/* The trainer is as it was, bit for bit; m can be returned to again. Files that were written since
 * stay. Collective. E_RANK. */
int mark_return(struct mark *m, struct trainer *t);
/* NULL is allowed. Local. */
void mark_free(struct mark *m);

#endif
