/* Random numbers by counter: a value depends on (key, stream, counter) alone, never on what was
 * drawn before, so any rank can make any of them.
 * Source: Salmon et al. 2011, Philox4x32-10. */
#ifndef CARAT_BASE_RNG_H
#define CARAT_BASE_RNG_H

#include <stdint.h>

/* Four 32-bit words for one counter. */
void rng_philox(uint32_t out[4], uint64_t key, uint64_t stream, uint64_t counter);
/* 64 random bits. */
uint64_t rng_u64(uint64_t key, uint64_t stream, uint64_t counter);
/* Uniform in [0,1), 53 bits. */
double rng_uniform(uint64_t key, uint64_t stream, uint64_t counter);
/* Standard normal (Box-Muller on one counter's four words, in double). */
double rng_normal(uint64_t key, uint64_t stream, uint64_t counter);

#endif
