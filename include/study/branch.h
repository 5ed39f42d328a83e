/* The critical batch of a run on its way: from its checkpoints branches at multiples of the batch,
 * the rate following by scaling.rule, each as many tokens long; the largest batch whose loss stays
 * within study.harm of those of smaller ones is harmless there.
 * Source: Merrill et al. 2025, Critical Batch Size Revisited. */
#ifndef CARAT_STUDY_BRANCH_H
#define CARAT_STUDY_BRANCH_H

#include "base/str.h"
#include "conf/config.h"
#include "study/planner.h"

enum { BRANCH_MOST_POINTS = 64, BRANCH_MOST_FACTORS = 16 };

/* A checkpoint that branches start from. */
struct branch_point {
    int64_t step;
    double tokens; /* done there */
    int64_t batch; /* of the run there, sequences */
};

struct branch_setup {
    struct config conf; /* the run's */
    struct branch_point point[BRANCH_MOST_POINTS];
    double factor[BRANCH_MOST_FACTORS]; /* rising */
    int n_points, n_factors;
    double length;     /* of a branch, tokens */
    double run_tokens; /* the run's length, by which its schedule goes */
};

extern const struct planner PLANNER_BRANCH;

/* Puts tokens behind the steps of study.from ("1000@2048000"), so that the study says by itself
 * where its branches start; chooses the steps where it is empty. Reads run.dir's checkpoints.
 * E_CONFIG where there is none, or none early enough for a branch. Local. */
int branch_resolve(struct config *job);
/* From a job whose study.from is resolved. E_CONFIG, E_DATA. Pure but for the length of epochs. */
int branch_init(struct branch_setup *b, const struct config *job);

enum branch_verdict {
    BRANCH_OPEN,     /* not all branches have ended */
    BRANCH_HARMLESS, /* up to `factor`; the next one does harm */
    BRANCH_AT_LEAST, /* all are harmless: the critical batch is larger than what was tried */
    BRANCH_UNKNOWN   /* the smallest batch's branch has no loss to compare with */
};

struct branch_row {
    struct branch_point point;
    double loss[BRANCH_MOST_FACTORS]; /* NaN: not there; INFINITY: diverged */
    double noise_scale;               /* sequences, of the smallest batch; NaN: not measured */
    enum branch_verdict verdict;
    double factor, batch; /* the largest harmless one */
};

struct branch_result {
    const struct branch_setup *setup;
    struct branch_row row[BRANCH_MOST_POINTS];
    int n;
};
/* Pure. */
void branch_judge(struct branch_result *r, const struct branch_setup *b, const struct history *h);

/* Adds the batch.ramp that stays harmless: at each checkpoint the least of what it and all later
 * ones allow. *batch: its last stage. False, with nothing added, while a checkpoint has no
 * verdict. */
bool branch_ramp(struct str *text, const struct branch_result *r, int64_t *batch);
/* Adds a table, a line a checkpoint, and a sentence. */
void branch_show(struct str *text, const struct branch_result *r);

#endif
