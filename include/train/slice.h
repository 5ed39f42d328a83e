/* A slice: the part of a run that one job with a time limit does. It must gain a step and save it,
 * or a job that is queued again does nothing for ever. The file checkpoints/times keeps what the
 * last slice measured, for the next one to know. */
#ifndef CARAT_TRAIN_SLICE_H
#define CARAT_TRAIN_SLICE_H

#include <stdbool.h>

/* What a process has. */
struct slice {
    double begun_s; /* clock at its start */
    double asked_s; /* train.time_limit; 0: none */
    double limit_s; /* from its start; 0: none */
    bool of_job;    /* the limit is when Slurm ends the job, not train.time_limit */
};

struct slice slice_of(double begun_s, double asked_s);
/* The same, or until the Slurm job ends that this process belongs to, whichever is sooner: as
 * squeue says or, where it does not in 10 s, SLURM_JOB_END_TIME (seconds since 1970), which newer
 * versions set. Local. */
struct slice slice_of_job(double begun_s, double asked_s);
/* The end of a job can be put off. Asks squeue anew, where the limit is the job's; true when it is
 * later now. At most 2 s. Local. */
bool slice_is_longer(struct slice *s);

/* The clock from which a slice counts its start-up: from the trainer's start, init_s, or, as Slurm
 * ends a job whatever its start has waited for, from the process's. */
double slice_since_s(const struct slice *s, double init_s);

/* Seconds. */
struct slice_times {
    double startup_s; /* from slice_since_s to the first step */
    double step_s;    /* the first step, which is the slowest as a rule; 0: it was not done yet, and
                         startup_s is for how long it was not */
    double save_s;    /* a save; 0: none was measured */
};

/* What a slice needs at least: its start-up, a step and two saves, for one may come just before. */
double slice_least_s(const struct slice_times *t);
/* Whether to save now and end: of limit_s (0: none) left_s are left, next_s is what comes before
 * the next occasion (the next step, a validation). Twice a save must fit behind that, and a margin
 * of a tenth of the limit, at most a minute: Slurm may be so early. */
bool slice_is_up(double left_s, double limit_s, double save_s, double next_s);

/* E_CONFIG with the numbers when the last slice's times on as many ranks do not fit into s, or it
 * had not come to a step when such a limit's time was up. OK when they are not known. Root. Local.
 */
int slice_check(const char *run_dir, const struct slice *s, int ranks);
/* Seconds of the last save that a run in this folder measured, on any number of ranks; 0: none. An
 * attempt goes by them until it has saved itself. Root. Local. */
double slice_save_s(const char *run_dir);
/* Keeps the times. What cannot be kept is only not known. Root, one thread at a time. Local. */
void slice_note(const char *run_dir, const struct slice_times *t, int ranks);

#endif
