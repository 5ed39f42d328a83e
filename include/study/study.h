/* A study on disk: trials in one folder, which any number of workers on any nodes share.
 *
 *   study.json              what is studied; made once by link, never changed
 *   trials/000012/          a trial, made whole by renaming a folder: each number is given once
 *     trial.json            what is tried; never changed
 *     claim-0001, -0002 …   who works on it, newest last; made by O_EXCL; a heartbeat rewrites it
 *     reached-0001.json …   published where other trials' results decide whether it goes on
 *     end.json              published once: what came of it
 *     run/                  its run folder: checkpoints, metrics, log
 *   results.h5, results.csv all of it as tables, written anew whenever a trial ends
 *
 * No server, no database, no fcntl lock. What is published is published by rename or link of a
 * file that was written and fsynced beside it; a worker that lost its claim publishes nothing.
 * All functions are local: a worker's root calls them. */
#ifndef CARAT_STUDY_STUDY_H
#define CARAT_STUDY_STUDY_H

#include "base/fs.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define STUDY_FORMAT 1 /* of all files in the folder; others are refused */

enum trial_state {
    TRIAL_WAITING, /* nobody works on it; it begins, or goes on from its last milestone */
    TRIAL_RUNNING, /* claimed */
    TRIAL_DONE,    /* reached its end, or its target */
    TRIAL_PRUNED,  /* given up: others did better */
    TRIAL_DIVERGED,
    TRIAL_FAILED /* an error, or its workers died study.attempts times */
};

/* "optimizer.lr" = "0.003", as the command line writes them. */
struct setting {
    char key[64], value[128];
};

/* A validation of a trial. */
struct curve_point {
    double step, tokens, loss, train_s; /* train_s: seconds in steps so far */
};

/* What is tried: made by a planner, stored in trial.json. */
struct trial_plan {
    struct setting *set; /* over the study's job; mem_free */
    int n_set;
    double *milestones; /* tokens at which the planner judges, rising, the end not among them */
    int n_milestones;
    double target;      /* ends once the validation loss is no more than this; 0: goes to its end */
    double watch;       /* validations begin near this loss; 0: near the target */
    double most_tokens; /* ends there, its target reached or not; 0: the run's length */
    int validations;    /* spread over the run (geometrically with a target); 0: milestones, end */
    int parent;         /* starts from this trial's checkpoint; -1: from none */
    double parent_tokens;     /* the parent's milestone that is meant, or what origin has done; 0 */
    char origin[FS_PATH_MAX]; /* or from this run folder or checkpoint; "": from none */
    char role[32];            /* for people and the planner: "cell", "branch", "tpe" */
};

/* A trial with what is known of it. */
struct trial {
    int number; /* from 0 */
    struct trial_plan plan;
    enum trial_state state;
    int claims;                /* so far */
    int deaths;                /* claims in a row that were not given back and saved nothing */
    struct curve_point *curve; /* up to the last publication; mem_free */
    int n_curve;
    int n_reached;                         /* milestones published */
    double value;                          /* the last validation's loss; NaN: none */
    double steps, tokens, train_s, step_s; /* step_s: median */
    double noise_scale; /* sequences, of the run's last tenth; NaN: not measured */
    double spikes, ranks;
    char why[256]; /* of states from TRIAL_PRUNED on: one sentence */
};

/* All trials, in the order of their numbers. Belongs to the study: good until it is read again. */
struct history {
    struct trial *trial;
    int n;
};

struct study {
    char dir[FS_PATH_MAX];
    char kind[16];  /* the planner's name: "search", "study" */
    char *job;      /* the resolved job with its search.* and study.* keys, YAML; mem_free */
    double stale_s; /* a claim without heartbeat for so long is taken over */
    int attempts;   /* of a trial that may die with their workers before it counts as failed */
    struct folder *known; /* what was read so far: what has ended is not read again */
};

/* Opens the folder, or makes it. job: as conf_text gives it. E_CONFIG when the folder holds
 * another study (names the keys that differ), another kind, another format, or no study. */
int study_open(struct study *s, const char *dir, const char *kind, const char *job, double stale_s,
               int attempts);
/* A study that is there, whatever its job: for reports and for workers that are given a folder.
 * E_DATA. */
int study_read(struct study *s, const char *dir);
bool study_is_folder(const char *dir);
void study_close(struct study *s);

/* What lies in the folder now. Damaged files are E_DATA naming them. */
int study_history(struct study *s, struct history *h);

/* Publishes trial `number`. *taken: another worker was first, which is no error. */
int study_add(const struct study *s, int number, const struct trial_plan *plan, bool *taken);

/* A claim that this process holds. Its heartbeat is a thread's: no HDF5, no MPI in it. */
struct claim {
    char path[FS_PATH_MAX]; /* of the claim's file */
    int trial, generation;  /* from 1 */
    void *beat;
};
/* Claims a waiting trial, or one whose worker is dead: a process of this host that is gone, an
 * earlier start of the same Slurm job, or no heartbeat for s->stale_s of this process's clock, for
 * which it must have been called that long ago before. *got false: it is another's, or has ended.
 */
int claim_take(struct study *s, const struct trial *t, struct claim *c, bool *got);
/* E_STOPPED when another worker took the trial over. */
int claim_check(const struct study *s, const struct claim *c);
/* Ends the claim; the trial waits again unless it has ended. */
void claim_give_back(struct claim *c);

/* Publish milestone t->n_reached + 1, or the end, of a claimed trial: t's curve, state, value and
 * so on. Checks the claim first. E_STOPPED when it was lost: nothing is published. */
int study_reached(const struct study *s, const struct claim *c, const struct trial *t);
int study_end(const struct study *s, const struct claim *c, const struct trial *t);

/* results.h5 and results.csv from the history. E_IO. */
int study_tabulate(const struct study *s, const struct history *h);
/* Adds what results.csv holds. E_MEM. */
int study_csv(struct str *out, const struct history *h);

/* "<dir>/trials/000012". */
int trial_path(char *path, const struct study *s, int number);
const char *trial_state_name(enum trial_state state);
/* The trial's value for a key, NULL when it sets none. */
const char *trial_setting(const struct trial_plan *p, const char *key);
/* The same as a number; NaN when it sets none. */
double trial_number_of(const struct trial *t, const char *key);
bool trial_is(const struct trial *t, const char *role);
/* The trial that is done with the least loss; NULL: none is. */
const struct trial *history_best(const struct history *h);

#endif
