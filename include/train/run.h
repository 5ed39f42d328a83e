/* The run folder: its files. */
#ifndef CARAT_TRAIN_RUN_H
#define CARAT_TRAIN_RUN_H

#include "par/comm.h"
#include "train/lock.h"
#include "train/stop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes the folder and its parts and takes the lock (train/lock.h): exactly one writer a run. Root
 * does the work. Collective. E_IO when the folder cannot be written, E_CONFIG when another job
 * holds it. */
int run_claim(const struct comm *c, const char *run_dir, struct run_lock *lock);

/* A file that the user touches to ask for something ("stop", "save"): seen once, then removed.
 * Root. */
bool run_asked(const char *run_dir, const char *what);

/* Drops, with a line in the log, requests to a holder that died before it saw them; its lock was
 * taken over. One made since then, or to an earlier start of this Slurm job, stands. Root. */
void run_drop_stale(const char *run_dir, const struct run_lock *lock);

/* Writes FAILED (JSON: rank, host, step, code, message) unless an earlier one exists; run_claim
 * removes it. True when there is no earlier one, so that the caller is the one to tell. Any rank.
 */
bool run_write_failed(const char *run_dir, const struct comm *c, long step, int code);
/* The same in any thread: takes no recorded error. */
bool run_record_failure(const char *run_dir, int rank, const char *host, long step, int code,
                        const char *message);

/* Writes STOPPED (JSON: step, cause, the Slurm job): the run was saved before its last step, and
 * why. run_claim removes it. What cannot be written is only not told. Root. */
void run_write_stopped(const char *run_dir, long step, enum stop_cause cause);

/* From here on fatal() in this process writes FAILED too, and is silent where there is one; step
 * (borrowed) is read then. run_dir NULL: no longer. Local, all ranks. */
void run_note_fatal(const char *run_dir, const struct comm *c, const int64_t *step);

/* A new random UUID in text (37 bytes). */
int run_new_id(char id[37]);

#endif
