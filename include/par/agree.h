/* Collective errors: after local work, every rank learns the same outcome. */
#ifndef CARAT_PAR_AGREE_H
#define CARAT_PAR_AGREE_H

#include "par/comm.h"

/* Returns the same code on every rank: OK when all were OK, else the code of the lowest failing
 * rank, whose message (with "rank r on host") every rank then holds. Collective. Use as the last
 * line of a collective function, and before each collective that a failed rank would not reach. */
int agree(const struct comm *c, int rc);

/* Broadcasts n bytes of root's memory after agreeing on root's rc: for root-only work. Collective.
 */
int agree_bcast(const struct comm *c, int root, int rc, void *data, size_t n);

#endif
