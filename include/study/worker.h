/* A worker: an MPI communicator that takes one piece of a study's work after the other. Any number
 * of them, of one job or of many, may work on a folder at the same time. */
#ifndef CARAT_STUDY_WORKER_H
#define CARAT_STUDY_WORKER_H

#include "study/trial_run.h"

struct worker {
    const struct comm *comm;
    double begun_s; /* clock at the start of the process */
    /* Root's; unset on the others. */
    struct study *study;
    const struct planner *planner;
    void *self;
    const char *keep; /* study.keep */
    /* What root tells of: now and then with the trial under way and its steps (NULL while it waits
     * for others, and when one has ended). May be NULL. */
    void (*tell)(void *ctx, const struct trial *running, double n_steps);
    void *ctx;
};

/* Works until the study has ended. OK then, whatever became of its trials; E_STOPPED when a signal,
 * a file or the time limit ended it before: what was under way is saved, and the claim on it given
 * back. Other errors are the machine's (E_IO, E_RANK …): the trial waits for another worker. The
 * same on all ranks. Collective. */
int worker_run(struct worker *w);

/* Deletes checkpoints that nobody needs: those of ended trials but the best one, or of all
 * ("none"), and, once the study has ended, those kept at milestones. Root. E_IO. */
int worker_tidy(struct study *s, const char *keep, bool ended);

#endif
