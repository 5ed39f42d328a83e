/* Continuing a run: what its newest checkpoint says, and whether this configuration may follow. */
#ifndef CARAT_TRAIN_RESUME_H
#define CARAT_TRAIN_RESUME_H

#include "train/trainer.h"

/* Loads the newest whole checkpoint of the run folder into the trainer, when there is one; *found
 * tells. Changed settings are printed as safe or trajectory-changing; an impossible one is
 * E_CONFIG, all of them listed. Collective. */
int resume_newest(struct trainer *t, bool *found);

/* Goes back, in a run that is under way, to its newest checkpoint of fewer than `step` completed
 * steps (or the oldest that there is); later ones are set aside. Collective. */
int resume_before(struct trainer *t, int64_t step);

/* Fills a checkpoint set that describes the trainer's present state (borrowed memory but for
 * set->meta, which the caller releases). */
int resume_describe(struct trainer *t, struct ckpt_set *set);

#endif
