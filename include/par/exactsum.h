/* Sums of doubles whose result does not depend on order: a long fixed-point accumulator that holds
 * every double exactly and is rounded once. Source: Kulisch 1986; Neal 2015 (superaccumulators). */
#ifndef CARAT_PAR_EXACTSUM_H
#define CARAT_PAR_EXACTSUM_H

#include "par/comm.h"
#include <stdint.h>

#define EXACT_LIMBS 68

struct exactsum {
    int64_t
        limb[EXACT_LIMBS]; /* weights 2^(32·i + constant), each within ±2^62; carried as needed */
    int64_t n_pending;     /* additions since the last carry */
    int64_t special;       /* counts of NaN and infinities: the sum is then NaN or infinite */
};

void exactsum_clear(struct exactsum *a);
void exactsum_add(struct exactsum *a, double x);
void exactsum_merge(struct exactsum *a, const struct exactsum *b);
/* The sum, correctly rounded to nearest (ties to even). */
double exactsum_value(const struct exactsum *a);
/* Canonical limbs (each in [0, 2^32) but the top), EXACT_LIMBS + 1 int64 that may be added by
 * MPI_SUM over up to 2^30 ranks; and back. */
void exactsum_pack(const struct exactsum *a, int64_t out[EXACT_LIMBS + 1]);
void exactsum_unpack(struct exactsum *a, const int64_t in[EXACT_LIMBS + 1]);

#endif
