/* A trial of a study as a run: its job, from its checkpoint or its parent's, to its next milestone
 * or its end; and what came of it. */
#ifndef CARAT_STUDY_TRIAL_RUN_H
#define CARAT_STUDY_TRIAL_RUN_H

#include "conf/config.h"
#include "par/comm.h"
#include "study/planner.h"

#include <stdbool.h>

/* What a worker's trials have in common. */
struct trial_setup {
    const struct comm *comm;
    const struct study *study; /* root's; NULL on the others */
    double begun_s;            /* clock at the start of the process */
    bool keeps_milestones;     /* other trials may start from this one's checkpoints at them */
    /* Called on root after each step: the trial with its steps and tokens so far, out of n_steps.
     * May be NULL. */
    void (*step)(void *ctx, const struct trial *t, double n_steps);
    void *ctx;
};

enum trial_outcome {
    OUTCOME_REACHED, /* the task's milestone: study_reached publishes it */
    OUTCOME_ENDED,   /* done, diverged or failed: study_end */
    OUTCOME_STOPPED, /* saved before that: a signal, a file or the time limit */
    OUTCOME_LOST     /* another worker took it over: nothing is published */
};

/* The job of a trial: the study's, without its study.* and search.* keys, with the plan's settings,
 * in the run folder <trial>/run. E_CONFIG names the trial. Local. */
int trial_job(struct config *c, const struct study *s, const struct trial *t);

/* Runs the task, which root holds (task is not read on the others), with its terminal output in
 * the run's log.txt alone, and fills in task->trial on root: state, curve (mem_free), value and so
 * on, from the metrics on disk, so that it is the same whatever interrupted the trial. An error of
 * the trial (E_CONFIG, E_DATA, E_MEM, E_DIVERGED) is an outcome; others are returned. Collective.
 */
int trial_run(const struct trial_setup *setup, struct task *task, enum trial_outcome *outcome);

#endif
