/* The run folder: its files and its lock. */
#ifndef CARAT_TRAIN_RUN_H
#define CARAT_TRAIN_RUN_H

#include "par/comm.h"
#include <stdbool.h>
#include <stddef.h>

struct run_lock {
    char path[4096];
    bool held;
};

/* Makes the folder and its parts and takes the lock: exactly one writer a run. A lock of a process
 * of this host that is gone, or of an earlier start of the same Slurm job, is taken over. Root does
 * the work. Collective. E_IO when the folder cannot be written, E_CONFIG when another job holds it,
 * naming that job, host and process. */
int run_claim(const struct comm *c, const char *run_dir, struct run_lock *lock);
/* Still ours? Re-read before each publication. Root. E_IO when another took it. */
int run_still_ours(const struct run_lock *lock);
void run_give_back(struct run_lock *lock);
/* True when the folder has a lock: who holds it ("process 12 on node7") into text; *gone: it is
 * known that it ended without giving it back. Local. */
bool run_holder(const char *run_dir, char *text, size_t n, bool *gone);

/* A file that the user touches to ask for something ("stop", "save"): seen once, then removed.
 * Root. */
bool run_asked(const char *run_dir, const char *what);

/* Writes FAILED (JSON: rank, host, step, code, message) unless an earlier one exists; run_claim
 * removes it. Any rank. */
void run_write_failed(const char *run_dir, const struct comm *c, long step, int code);
/* The same in any thread: records no error. True when there is no earlier one, so that the caller
 * is the one to tell. */
bool run_record_failure(const char *run_dir, int rank, const char *host, long step, int code,
                        const char *message);

/* A new random UUID in text (37 bytes). */
int run_new_id(char id[37]);

#endif
