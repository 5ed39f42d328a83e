/* What a study does next. A planner is a pure function of what has been published: every worker
 * asks it alone and all get the same answer, so that results do not depend on how many workers
 * there are, nor on which is fast. Where a rule learns from earlier trials it looks at those that
 * are at least `study.ahead` numbers older, and counts the others as running. */
#ifndef CARAT_STUDY_PLANNER_H
#define CARAT_STUDY_PLANNER_H

#include "conf/config.h"
#include "study/study.h"

enum answer {
    ANSWER_GO,   /* propose: the plan is filled; judge: the trial goes on */
    ANSWER_WAIT, /* not before others have published more */
    ANSWER_STOP  /* propose: the study has all its trials; judge: the trial is given up */
};

struct planner {
    const char *kind; /* "search" */
    /* Whatever is computed once from the study's configuration: spaces, grids. E_CONFIG. */
    int (*open)(void **self, const struct study *s, const struct config *job);
    /* The plan of trial h->n (zeroed before; the caller frees its arrays). */
    int (*propose)(void *self, const struct history *h, struct trial_plan *plan,
                   enum answer *answer);
    /* Whether trial i goes on past its milestone k (from 0), which it has published. With
     * ANSWER_STOP why (256 bytes) gets a sentence. A planner may make a trial go on from another's
     * checkpoint with other settings by stopping it and proposing its successor (plan.parent). */
    int (*judge)(void *self, const struct history *h, int i, int k, enum answer *answer, char *why);
    /* One line for the live table ("best 2.31 at lr 0.004"). */
    void (*headline)(void *self, const struct history *h, char *text, size_t n);
    void (*close)(void *self);
    /* Whether trials start from others' milestones, so that checkpoints stay at each until the
     * study has ended. NULL: they do not. */
    bool (*branches)(const void *self);
};

extern const struct planner PLANNER_SEARCH, PLANNER_STUDY;
/* The row of a kind, NULL when unknown. */
const struct planner *planner_find(const char *kind);

/* A piece of work. */
struct task {
    struct trial trial;
    struct claim claim;
    int milestone; /* it runs to this one, from 0; plan.n_milestones: to its end */
};

/* Finds and claims the next piece of work: a waiting trial that its planner lets go on, else a new
 * trial. ANSWER_GO: *task is claimed; ANSWER_WAIT: look again later; ANSWER_STOP: the study has
 * ended. Local, the worker's root. */
int study_next(struct study *s, const struct planner *p, void *self, struct task *task,
               enum answer *answer);

#endif
