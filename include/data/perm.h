/* A keyed permutation of 0 … n-1 that needs no memory: a Feistel network on the next power of four,
 * walked until it lands inside. Source: Black and Rogaway 2002, "Ciphers with arbitrary finite
 * domains" (cycle walking). */
#ifndef CARAT_DATA_PERM_H
#define CARAT_DATA_PERM_H

#include <stdint.h>

/* Where position i (0 … n-1) goes under (seed, epoch). A bijection for each key. */
uint64_t perm_at(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t i);

#endif
