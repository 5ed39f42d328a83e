/* What the files of a trial's run share, and their tests. */
#ifndef CARAT_STUDY_TRIAL_PARTS_H
#define CARAT_STUDY_TRIAL_PARTS_H

#include "study/trial_run.h"
#include "train/trainer.h"

/* Where a run stands, in what all trials are compared by: tokens of whole batches. */
struct trial_place {
    double step, tokens;
};
struct trial_place trial_place(const struct trainer *t);

/* Root's configuration to all ranks, as text: they need not read the study's files. Collective. */
int trial_share_job(struct config *conf, const struct comm *c);

/* The one key of the study's that a plan may set: how many ranks its trial asks for. */
#define TRIAL_RANKS "study.ranks"

/* Trials that leave no run, by plan.role: a range test ("range"), whose curve is the smoothed
 * loss at each of RANGE_DEFAULT's rates, and steps that are only timed ("time"), on as many ranks
 * as TRIAL_RANKS says. NULL for other roles. Their outcomes and errors are as trial_run's.
 * Collective. */
typedef int trial_probe(const struct trial_setup *setup, struct task *task,
                        enum trial_outcome *outcome);
trial_probe *trial_probe_find(const char *role);

/* Whether an error is of the trial alone: E_CONFIG, E_DATA, E_MEM, E_DIVERGED. */
bool trial_owns_error(int rc);

/* When a trial validates and where it pauses; the same on every rank. */
struct trial_goal {
    double milestone;   /* tokens; INFINITY: the run's end */
    double target;      /* validation loss; 0: none */
    double watch;       /* from near which loss on it is validated */
    double most_tokens; /* with a target; INFINITY: the run's end */
    int validations;
};
struct trial_goal trial_goal(const struct task *task);
/* Whether nothing is left to do at a place where the last validation gave this loss. */
bool goal_is_reached(const struct trial_goal *g, const struct trial_place *at, double loss);
/* Whether the run is validated after a step with this loss. */
bool goal_wants_loss(const struct trial_goal *g, const struct trial_place *before,
                     const struct trial_place *at, double n_steps, double train_loss);

/* The trial's numbers from its run folder's metrics up to the place where it stands. t keeps its
 * plan and state. Root. E_IO, E_MEM. */
int trial_measure(struct trial *t, const char *run_dir, const struct trial_place *at,
                  double seq_len);

/* Root: makes the run folder, takes over the lock of a worker that lost the trial, and lays the
 * checkpoint that the trial starts from into it, unless the run has begun. E_CONFIG, E_DATA, E_IO.
 */
int trial_prepare(const struct study *s, const struct trial *t, const char *run_dir);
/* Root: keeps the run's newest checkpoint as that of the milestone, whatever the run deletes. */
int trial_keep_milestone(const struct study *s, const struct trial *t, int milestone,
                         const char *run_dir, int64_t step);

#endif
