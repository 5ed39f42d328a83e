/* How much each axis of a search alone explains of the trials' losses.
 * Source: Hutter et al. 2014, functional analysis of variance over a regression forest; main
 * effects alone. What axes do together is in no share, so that shares add up to 1 or less. Few
 * trials, and trials that crowd around the best point, make it rough. */
#ifndef CARAT_STUDY_IMPORTANCE_H
#define CARAT_STUDY_IMPORTANCE_H

#include "study/space.h"

enum { IMPORTANCE_LEAST = 8, AT_END = -1, AT_NOTHING = -2 };

/* Where so many trials can be compared: AT_END; the last milestone that enough of them reached,
 * from 0; or AT_NOTHING. */
int importance_milestone(const struct history *h);
/* share[s->n] from the losses there, of *n_used trials; NaN where these are fewer than
 * IMPORTANCE_LEAST or all alike. An axis that does not apply counts as in its middle, a choice's
 * values as in the order of its row. The same for the same history. E_MEM. */
int importance(const struct space *s, const struct history *h, double *share, int *n_used);

#endif
