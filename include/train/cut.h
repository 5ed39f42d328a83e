/* A start that is cut before it has gained a step: killed at its time limit, or soon after it was
 * asked to end. Nobody is left then to say so. Until a step is gained a thread looks for
 * both, while the start lives: it takes back the count of starts (train/restart.h), for the
 * checkpoint is not to blame, and notes how far the time limit went (train/slice.h), so that the
 * next start is refused rather than cut as well. */
#ifndef CARAT_TRAIN_CUT_H
#define CARAT_TRAIN_CUT_H

#include "train/lock.h"
#include "train/slice.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

struct cut_terms {
    const char *run_dir;         /* borrowed */
    const struct run_lock *lock; /* borrowed: nothing is written once it is lost */
    int ranks;
    struct slice slice;
    double init_s; /* clock at the start of the trainer: what a slice has to itself */
    double save_s; /* a save, as far as is known; else 0 */
};

struct cut_watch {
    struct cut_terms terms;
    bool has_thread;
    pthread_t thread;
    sem_t ended;
};

/* Looks from here on. Where no thread can be had, nobody does. The struct stays where it is until
 * the end. Root. Local. */
void cut_watch_begin(struct cut_watch *w, const struct cut_terms *terms);
/* A step was gained, or the run has ended by itself. No harm where nobody looks. Local. */
void cut_watch_end(struct cut_watch *w);

#endif
