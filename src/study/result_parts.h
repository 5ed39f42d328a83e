/* What the files of a study's result share; src/study alone. */
#ifndef CARAT_STUDY_RESULT_PARTS_H
#define CARAT_STUDY_RESULT_PARTS_H

#include "study/critical_plan.h"
#include "study/result.h"

/* The step at which a trial first comes to a loss; INFINITY: not so far. */
double trial_steps_to(const struct trial *t, double target);

/* The fit, its spread and the law of the rate, of a target. E_MEM. */
int result_fit(struct study_result *r, int target);
/* The ways to the main target, from the batches and the times. E_MEM. */
int result_ways(struct study_result *r);
/* What is advised, as numbers and as a sentence. */
void result_advise(struct study_result *r);
/* What is missing, at an edge, or to be taken with care. E_MEM. */
int result_note(struct study_result *r, const struct history *h, const struct critical_plan *p);

#endif
