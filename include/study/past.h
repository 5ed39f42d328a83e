/* What earlier studies and runs found out about rates: all those under one folder, as points for
 * the law of study/prior.h. All functions are local. */
#ifndef CARAT_STUDY_PAST_H
#define CARAT_STUDY_PAST_H

#include "conf/config.h"
#include "study/prior.h"
#include "study/study.h"

#include <jansson.h>

/* A best rate with where it comes from. */
struct past_find {
    char from[256]; /* folder, and the batch where it has several */
    struct prior_point point;
    int n_rates; /* tried there */
};
/* What was looked at and says nothing. */
struct past_skip {
    char from[256], why[160];
};

struct past {
    char folder[FS_PATH_MAX];
    struct past_find *find; /* by place; mem_free */
    struct past_skip *skip;
    int n, n_skip;
};

/* Looks through study.past: studies, and finished runs outside of them that differ in their rate
 * alone. A rate counts when at least three were tried that ended after the same tokens (or came to
 * the same target) and worse ones lie on either side of the best: a single run says nothing of
 * what another rate would have done. Left out, by name, is what used another optimizer than the
 * job, muP where it does not or the reverse, and what began from other weights. `without`: a folder
 * that is passed over, the study's own; NULL: none. E_CONFIG when study.past is not set or no
 * folder, E_MEM. Folders that cannot be read are left out, by name. */
int past_gather(struct past *p, const struct config *job, const char *without);
void past_release(struct past *p);

/* Trials or runs of one group: all but the rate and the seed is the same. */
struct past_sample {
    char group[65];
    char from[256];
    double at[PRIOR_N], lr, score;
    double target; /* score is the tokens to it; 0: score is the loss after at[PRIOR_TOKENS] */
};
/* Add one of either kind. E_MEM. */
int past_add_find(struct past *p, const struct past_find *find);
int past_add_skip(struct past *p, const char *from, const char *why);
/* Adds what each group of the samples says. Sorts them. E_MEM. Pure. */
int past_judge(struct past *p, struct past_sample *sample, int n);

/* The past as a study first saw it: kept in the study's folder as prior.json, so that the study
 * stays the same while other studies end. Gathers it when it is not there; keeps nothing where s is
 * NULL or its folder not there yet. E_CONFIG, E_DATA, E_IO. */
int past_of_study(struct past *p, const struct study *s, const struct config *job);

/* The law of what was found, for the job's optimizer; false when nothing was. */
bool past_law(struct prior *law, const struct past *p, const struct config *job);
/* The E_CONFIG of a job that wants a law where there is none. */
int past_without(const struct past *p, const struct config *job);
/* The parameters of the job's model. E_CONFIG, E_DATA. */
int past_params(double *params, const struct config *job);
/* The points and what was left out, as prior.json has them; json_decref it. */
json_t *past_json(const struct past *p);
/* Adds a table of the points, what was left out and why, and the law. */
void past_show(struct str *text, const struct past *p, const struct config *job);

#endif
