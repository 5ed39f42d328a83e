/* A run's saving: one checkpoint at a time, by default while training goes on.
 *
 * What is saved is copied to a staging buffer; a thread a rank writes it there (train/ckpt.h), and
 * whether any is still at work rides on each step's packed reduction. Where training has to wait
 * anyway (at its end, before it goes back), or with checkpoint.async off, nothing is copied. */
#ifndef CARAT_TRAIN_SAVE_H
#define CARAT_TRAIN_SAVE_H

#include "conf/config.h"
#include "optim/optim.h"
#include "train/ckpt.h"

struct trainer;

struct saving {
    bool aside; /* else every save waits */
    void *staging;
    size_t staging_bytes;
    struct ckpt_save *flight; /* NULL: none is on its way */
    struct ckpt_set set;      /* of it */
    int64_t step;             /* of it */
    double held_s;            /* that training waited for it so far */
};

/* Bytes that a rank's staging takes; 0 where every save waits. Local. */
size_t save_staging_bytes(const struct config *c, const struct optim_rule *rule,
                          const struct optim_layout *l, const struct optim_group *groups,
                          int n_groups, int ranks, int rank);

/* Takes the staging buffer, or warns that saves will wait. Collective. */
int save_init(struct trainer *t);
/* A save on its way is given up: nothing of it is left. Local. */
void save_release(struct trainer *t);

/* Whether this rank still writes. Local. */
bool save_is_busy(const struct trainer *t);
/* Whether a time limit is to be kept and nobody knows what a save takes: the same on all ranks. The
 * attempt's first step is saved then, and every save waits until one is measured: at the slice's
 * end it is the waiting one that must fit. Local. */
bool save_is_unmeasured(const struct trainer *t);
/* At a step's boundary: takes a save on its way further once no rank is busy, and begins one where
 * it is due, after one that is still on its way. What fails is tried again when the next is due,
 * with a warning, but not for ever. Collective. E_IO. */
int save_at_step(struct trainer *t, bool busy, bool due);
/* Waits for a save on its way; where it fails, warns. Collective. */
void save_settle(struct trainer *t);
/* Writes the checkpoint of the present step, after one that is on its way, then deletes old ones.
 * Collective. */
int trainer_save(struct trainer *t);

#endif
