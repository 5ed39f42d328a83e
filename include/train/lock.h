/* The run folder's lock: one writer at a time, also over hosts. The file `lock` says who it is
 * (train/holder.h), and its time of change is the holder's heartbeat. Who takes or gives it back
 * does so while it has made the file `lock.guard`, so that of several who try one succeeds. A
 * holder that was taken to be dead and is not finds out at its next heartbeat, and before whatever
 * it publishes or removes. */
#ifndef CARAT_TRAIN_LOCK_H
#define CARAT_TRAIN_LOCK_H

#include "train/holder.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct run_lock {
    char path[4096];
    struct holder me;      /* as the file says it */
    bool held;             /* by this process: root */
    int fd;                /* of the file while it is held */
    struct timespec since; /* by the file system's clock */
    time_t dead_until;     /* when who held it before must have been dead, where it died; else 0 */
    atomic_long beat_ms;   /* clock of the last heartbeat */
    atomic_bool lost;
    bool has_thread; /* that shows signs of life while the main thread is long at work */
    pthread_t thread;
    sem_t ended;
};

/* Takes the lock of a run folder that is there. It is taken from a holder that is known to be gone
 * (the table of rules in the .c), with a warning that says why. Root. Local. E_CONFIG when another
 * has it, naming process, host, Slurm job and its last heartbeat; E_IO when the folder cannot be
 * written. The struct stays where it is until it is given back: a thread uses it. */
int run_lock_take(struct run_lock *lock, const char *run_dir);
/* Shows that the holder is alive, at most every 15 s whoever calls how often; false once the lock
 * is another's. Any thread: no message is recorded. True where it is not held. */
bool run_heartbeat(struct run_lock *lock);
/* Still ours? Read anew before each publication. Root's main thread. E_IO when another took it; the
 * log is closed then, for it is the other's. */
int run_still_ours(struct run_lock *lock);
/* Whether one of the two found that another took it. Any thread. */
bool run_is_lost(const struct run_lock *lock);
void run_give_back(struct run_lock *lock);
/* True when the folder has a lock: who holds it ("process 12 on node7") into text; *gone: it is
 * known that it ended without giving it back. Local. */
bool run_holder(const char *run_dir, char *text, size_t n, bool *gone);

#endif
