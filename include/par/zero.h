/* Sharded state (ZeRO stage 1; Rajbhandari et al. 2020): copies between a slab and a shard, and the
 * all-gather that gives every rank all pieces. */
#ifndef CARAT_PAR_ZERO_H
#define CARAT_PAR_ZERO_H

#include "par/comm.h"
#include "par/shard.h"

/* Every rank's pieces of slab[n] are valid where it owns them; afterwards the whole slab is, on all
 * ranks. Collective. E_RANK. */
int zero_allgather(const struct comm *c, const struct shard *s, float *slab);
/* Shard ← slab and slab ← shard, this rank's pieces. Local. */
void zero_from_slab(const struct shard *s, float *shard_values, const float *slab);
void zero_to_slab(const struct shard *s, float *slab, const float *shard_values);

#endif
