/* What the stages of a large-batch study and the plans of its trials share; src/study alone. */
#ifndef CARAT_STUDY_CRITICAL_PARTS_H
#define CARAT_STUDY_CRITICAL_PARTS_H

#include "study/critical_plan.h"

enum { TIME_STEPS = 12 }; /* of a timing trial */

/* The grid of rates around a centre. */
struct rate_grid critical_grid(const struct critical_plan *p, double centre);
/* Tokens that the best rate of a batch took to the lowest target; INFINITY: none came there. */
double critical_best_tokens(const struct critical_plan *p, const struct history *h, int batch);

#endif
