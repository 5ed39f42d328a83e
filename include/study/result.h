/* What a large-batch study comes to, from its trials: for the terminal, JSON and the report. A pure
 * function of the history, whole or not.
 *
 * Its trials are known by plan.role: "range" (a range test; curve: the smoothed loss at each of
 * RANGE_DEFAULT's rates), "cell" (a rate at a batch, trained to the lowest target; cells of one
 * batch and rate differ in run.seed) and "time" (steps on study.ranks ranks, for their seconds). */
#ifndef CARAT_STUDY_RESULT_H
#define CARAT_STUDY_RESULT_H

#include "base/str.h"
#include "conf/config.h"
#include "study/best_rate.h"
#include "study/critical.h"
#include "study/efficiency.h"
#include "study/study.h"

enum { RESULT_TARGETS = 16, RESULT_BATCHES = 64, RESULT_BAND = 33 };

/* A cell's trial. */
struct result_trial {
    int number; /* in the history */
    double batch, lr;
    int64_t seed;
    bool ended;
    /* To each target: INFINITY: never reached, or not before it was given up; NaN: has not ended
     * and has not reached it yet. */
    double steps[RESULT_TARGETS];
};

/* A rate at a batch. */
struct result_cell {
    double batch, lr;
    int first, n; /* its trials in result.trial */
    int n_ended, n_diverged, n_failed;
    double loss; /* of the last validation, the trials' mean; NaN: none */
    /* To each target: mean of the trials; INFINITY where one never reached it; NaN: some have not
     * ended. */
    double steps[RESULT_TARGETS];
};

/* What a target takes at a batch. */
struct result_best {
    struct best_rate rate; /* kind: whether worse rates lie on either side; lr: lr* */
    int cell;              /* the best one, in result.cell; -1: none reached the target */
    double steps;          /* geometric mean of its trials: S; INFINITY: never reached */
    double examples;       /* S · B: E */
    double overhead;       /* E / Emin of the fit; NaN: no fit */
    double fitted;         /* the fit's steps; NaN: no fit */
    int n_seeds;
};

struct result_batch {
    double batch;    /* sequences */
    double centre;   /* rate around which the grid lies; NaN: not known yet */
    int range_trial; /* its range test; -1: none */
    int first, n;    /* its cells in result.cell, rates rising */
    int n_trials, n_ended, n_diverged, n_failed, n_unreached; /* unreached: the lowest target */
    double spikes;
    double noise_scale; /* sequences, of the best cell's trials; NaN: not measured */
    double step_s;      /* of the best cell, on that many ranks; NaN: none */
    double ranks;
    struct result_best best[RESULT_TARGETS];
};

/* One target over all batches. */
struct result_target {
    double loss;
    int n_reached; /* batches that reached it */
    int n_fitted;  /* batches in the fit: those whose best rate is within its grid, or, with fewer
                      than three of them, all that reached it */
    bool edges;    /* batches whose best rate may be better elsewhere are in it */
    bool fits;     /* there is a fit */
    struct critical fit;
    struct critical_spread spread;
    /* The fit's band at RESULT_BAND batches, evenly in the logarithm over all of the study's. */
    double band_batch[RESULT_BAND];
    struct interval band[RESULT_BAND];
    bool lawful; /* there is a law of the best rate */
    struct rate_law law;
    bool lawful_below; /* and one of the batches up to the critical one alone, if they are fewer */
    struct rate_law law_below;
};

struct advice {
    int way;   /* in study_result.way; -1: no times were measured */
    int batch; /* in study_result.batch; -1: there is no advice */
    double lr;
    double lr_factor; /* a standard error: times or over this; 0: not known */
    char rule[32];    /* of scaling.rule, around this batch; "": not known */
    struct interval steps, hours;
};

struct study_result {
    double seq_len, threads; /* of a rank: core-hours count them */
    int n_targets, n_trials, n_cells, n_batches, n_times, n_ways;
    struct result_target target[RESULT_TARGETS]; /* losses falling */
    int main;                   /* the lowest target that some batch reached; -1: none */
    struct result_trial *trial; /* by batch, rate and seed; mem_free, as all of these */
    struct result_cell *cell;
    struct result_batch *batch; /* rising */
    struct timing *time;        /* by batch and ranks */
    struct way *way;            /* to the main target, by batch and ranks */
    double tokens, core_h;      /* of all trials so far */
    int n_waiting;              /* trials that have not ended */
    struct advice advice;
    struct str sentence; /* the advice */
    struct str notes;    /* a line each: what is missing, at an edge, or to be taken with care */
};

/* E_CONFIG for a job without targets, E_MEM. */
int study_result(struct study_result *r, const struct history *h, const struct config *job);
/* Trials that reached a target: one is not enough for its rate where other seeds did not. */
int result_seeds_reached(const struct study_result *r, int target);
void study_result_release(struct study_result *r);

#endif
