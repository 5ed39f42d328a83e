/* How much each axis of a search alone explains of the trials' losses.
 * Source: Hutter et al. 2014, functional analysis of variance over a regression forest; main
 * effects alone. What axes do together is in no share, so that shares add up to 1 or less. Few
 * trials, and trials that crowd around the best point, make it rough. */
#ifndef CARAT_STUDY_IMPORTANCE_H
#define CARAT_STUDY_IMPORTANCE_H

#include "study/space.h"

enum { IMPORTANCE_LEAST = 8 };

/* share[s->n] from the trials that came to their end, *n_used of them; NaN where these are fewer
 * than IMPORTANCE_LEAST or all alike. An axis that does not apply counts as in its middle, a
 * choice's values as in the order of its row. The same for the same history. E_MEM. */
int importance(const struct space *s, const struct history *h, double *share, int *n_used);

#endif
