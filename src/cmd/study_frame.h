/* What the commands that work on a study share: they open its folder, say what it will cost, work
 * on it with all ranks, show how it goes and what came of it. A command brings a planner and what
 * is its own. */
#ifndef CARAT_CMD_STUDY_FRAME_H
#define CARAT_CMD_STUDY_FRAME_H

#include "base/str.h"
#include "cmd/job.h"
#include "study/planner.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What the study comes to, as far as its planner can tell. */
struct foresight {
    int trials;         /* in all; 0: not known */
    double tokens;      /* that they train on in all, without what pruning saves unforeseen */
    double most_tokens; /* if none is given up */
    char what[256];     /* "tpe over 2 keys, median of 4 milestones" */
};

/* The study where a command has come to: root's. */
struct study_view {
    const struct job *job;
    struct study *study; /* known is NULL under --plan, before the folder is there */
    void *self;          /* the planner's */
    struct history history;
};

struct study_command {
    const char *name; /* "search": its folder is run.dir with "-search" behind it */
    const struct planner *planner;
    /* Completes the job of a study in the folder dir, which may not be there yet. May be NULL. */
    int (*prepare)(struct job *j, const char *dir);
    void (*foresee)(const struct study_view *v, struct foresight *f);
    /* More lines of the plan, each with its end. May be NULL. */
    void (*describe)(const struct study_view *v, struct str *lines);
    /* Lines below the final table: what was learnt, and what to do next. May be NULL. */
    int (*conclude)(const struct study_view *v);
    /* The same as members of the JSON object. May be NULL. */
    int (*json)(const struct study_view *v, json_t *root);
    /* The settings that --write puts into the job; NULL: there are none yet. */
    const struct trial_plan *(*choice)(const struct study_view *v);
};

struct study_request {
    bool plan, json, force, help;
    int64_t show;      /* rows of the table */
    const char *write; /* a job file; NULL: none */
};
#define STUDY_REQUEST                                                                              \
    {                                                                                              \
        .show = 10                                                                                 \
    }
#define STUDY_OPTIONS(q)                                                                           \
    {"plan", 0, OPT_FLAG, &(q).plan, NULL, "print what it will do and cost, and run nothing"},     \
        {"trials", 't', OPT_INT, &(q).show, "N", "rows of the table, best first (default 10)"},    \
        {"write",    0,          OPT_STR,                                                          \
         &(q).write, "JOB.yaml", "write the job with the best settings, comments kept"},           \
        {"force", 0, OPT_FLAG, &(q).force, NULL, "let --write replace a file"},                    \
        {"json", 0, OPT_FLAG, &(q).json, NULL, "print JSON"}, JOB_OPTIONS,                         \
    {                                                                                              \
        "help", 'h', OPT_FLAG, &(q).help, NULL, "this text"                                        \
    }

/* " key=value" for the settings of the command line that concern a run, and those of the plan: what
 * `carat train` takes for the same run. */
void study_add_settings(struct str *text, const struct job *j, const struct trial_plan *p);

/* study.dir, or run.dir with the kind behind it, into FS_PATH_MAX bytes. E_CONFIG: too long. */
int study_folder(char *dir, const struct config *c, const char *kind);

/* The command, from what opts_parse left. OK when the study has ended, E_STOPPED when it was
 * stopped before, E_DIVERGED when every trial diverged, E_CONFIG and E_DATA before anything runs.
 */
int study_frame(const struct study_command *k, const struct study_request *q, int argc,
                char **argv);

#endif
