/* Sharded state (ZeRO stage 1; Rajbhandari et al. 2020): the all-gather that gives every rank all
 * pieces. */
#ifndef CARAT_PAR_ZERO_H
#define CARAT_PAR_ZERO_H

#include "par/comm.h"
#include "par/shard.h"

/* The slab of a team lies in memory that it shares. Every rank's pieces of it are valid where it
 * owns them; afterwards the whole slab is, on all teams. Pieces pass between teams bucket by
 * bucket, without blocking; inside a team it is enough to meet. A comm without teams: each rank has
 * a slab of its own. Collective. E_RANK. */
int zero_allgather(const struct comm *c, const struct shard *s, float *slab);

#endif
