/* How long a job's run is, in tokens: what trials are compared at. Local. */
#ifndef CARAT_STUDY_LENGTH_H
#define CARAT_STUDY_LENGTH_H

#include "study/study.h"
#include "train/derive.h"

/* The run's batches and steps; epochs take their length from data.train. E_CONFIG, E_DATA. */
int study_course(struct course *k, const struct config *c);
/* Tokens of the whole run; those of a length in tokens as they are written. E_CONFIG, E_DATA. */
int study_length(double *tokens, const struct config *c);
/* Tokens of so long a stretch of it. E_CONFIG, E_DATA. */
int study_amount(double *tokens, const struct config *c, struct amount a);

/* Lets trials of any batch go by the job's tokens: its length, the schedule's clock and what the
 * schedule counts in steps are set in tokens, those that they are at the job's own batch. E_CONFIG,
 * E_DATA, E_MEM. */
int plan_in_tokens(struct trial_plan *plan, const struct config *job);
/* Adds a setting that is a whole number. E_MEM. */
int plan_set_number(struct trial_plan *plan, const char *key, double v);

#endif
