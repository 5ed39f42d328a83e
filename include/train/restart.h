/* How often the run was started from its newest checkpoint without gaining a step: the file
 * checkpoints/restart, one line "step <step> tries <tries>". A checkpoint may be whole and yet end
 * every run that starts from it; without a count, a job that is queued again does so for ever. All
 * for root, local; for the main thread, but where it says otherwise. */
#ifndef CARAT_TRAIN_RESTART_H
#define CARAT_TRAIN_RESTART_H

#include <stdint.h>

/* So many starts that came to nothing, and the file is set aside. */
enum { RESTART_MOST = 3 };

/* Starts from this step's file that have come to nothing so far; 0 too when there is no such
 * count. */
int64_t restart_tries(const char *run_dir, int64_t step);
/* Counts one more, durably, before the file is touched. E_IO. */
int restart_begin(const char *run_dir, int64_t step);
/* Takes this process's present start back, once, if it was counted: what ends it is not the
 * checkpoint. Errors are passed over. Any thread. */
void restart_forgive(const char *run_dir);
/* A step was gained. */
void restart_clear(const char *run_dir);

#endif
