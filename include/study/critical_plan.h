/* The planner of large-batch studies (PLANNER_STUDY): which rates are tried at which batches, stage
 * by stage. A stage begins once all trials before it have ended, so that what is tried depends on
 * no worker:
 *
 *   range    a range test at each batch, where study.center asks for it
 *   centre   the centre's rate at each batch
 *   grid     the other rates of the grid
 *   extend   a rate more, while a target's best one has no neighbour on some side
 *   seeds    study.seeds of the best rates and of neighbours that are nearly as good
 *   time     some steps on each of study.rank_counts
 *
 * The last four come again as long as there is something for them. A trial ends at the lowest
 * target, or is given up past study.give_up times the tokens that its batch's best rate or that of
 * a larger batch took in earlier stages: larger batches never take fewer tokens. */
#ifndef CARAT_STUDY_CRITICAL_PLAN_H
#define CARAT_STUDY_CRITICAL_PLAN_H

#include "base/str.h"
#include "conf/config.h"
#include "study/planner.h"
#include "study/prior.h"
#include "study/rate_grid.h"
#include "study/result.h"

struct critical_plan {
    struct config job;
    int n_batches, n_targets, n_ranks;
    double batch[RESULT_BATCHES];  /* sequences, rising */
    double target[RESULT_TARGETS]; /* nats, falling */
    double ranks[RESULT_TARGETS];  /* study.rank_counts */
    double centre[RESULT_BATCHES]; /* by the job or a prior; where range tests decide, where these
                                      say nothing */
    bool by_range;
    struct prior law;     /* of study.center prior; n 0: it is not asked */
    double params;        /* of the job's model, for the law */
    double run_tokens;    /* the most that a trial trains on */
    double warmup_tokens; /* the job's; 0: none */
};

/* From the job; s: its folder, for study.center prior; NULL: only what has been tried is looked at.
 * E_CONFIG naming the key. */
int critical_plan_open(struct critical_plan *p, const struct study *s, const struct config *job);

/* Centres the grids by the law of study.past, as the study keeps it; adds the law and the centres
 * as lines. E_CONFIG when it knows of no best rate. */
int critical_centre_by_past(struct critical_plan *p, const struct study *s);
void critical_say_past(const struct critical_plan *p, struct str *lines);

enum stage_kind { STAGE_RANGE, STAGE_CENTRE, STAGE_GRID, STAGE_EXTEND, STAGE_SEEDS, STAGE_TIME };

/* A trial to be. */
struct planned {
    int batch; /* in critical_plan.batch */
    int index; /* of its rate */
    int seed;  /* from 0: added to run.seed */
    int ranks; /* of STAGE_TIME */
    double most_tokens;
};

struct stage {
    enum stage_kind kind;
    struct planned *item; /* mem_free */
    int n, first;         /* trials first .. first + n - 1 of the study */
    double tokens;        /* at most */
};

/* The stage to which trial h->n belongs. ANSWER_STOP: there is none, or the budget has no room for
 * it: then stage->n is not 0 and why (may be NULL) says so. */
int critical_stage(const struct critical_plan *p, const struct history *h, struct stage *stage,
                   enum answer *answer, struct str *why);
/* "extend" */
const char *stage_name(enum stage_kind kind);

/* The centre of a batch's grid, as the first n trials of the history have it; false: not yet known.
 */
bool critical_centre(const struct critical_plan *p, const struct history *h, int n, int batch,
                     double *centre);

/* What a study comes to: once trials have reached the lowest target, others at their batch are
 * expected to take as much as the best one; before, as much as the run has. */
struct critical_facts {
    int n_trials;       /* as long as no grid needs more rates */
    double tokens;      /* of all of them */
    double most_tokens; /* with all rates and seeds that may be added, each going on to the end */
};
void critical_foresee(const struct critical_plan *p, const struct history *h,
                      struct critical_facts *f);
/* Adds what the plan does with the job's other settings, a line each. */
void critical_describe(const struct critical_plan *p, struct str *lines);

#endif
