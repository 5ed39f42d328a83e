#include "data/perm.h"

#include "base/err.h"
#include "base/rng.h"

/* Keeps this key's numbers apart from other uses of the same seed. */
#define PERM_STREAM 0x7065726dull /* "perm" */

/* Four are a pseudorandom permutation for a large domain; a small one has few keys a round. */
enum { ROUNDS = 8 };

/* Bits of one half: the least w with 4^w ≥ n. */
static int half_bits(uint64_t n)
{
    int w = 1;
    while (w < 32 && ((n - 1) >> (2 * w)) != 0)
        w++;
    return w;
}

static uint64_t feistel(uint64_t key, int w, uint64_t x)
{
    uint64_t mask = ((uint64_t)1 << w) - 1, left = x >> w, right = x & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t next = left ^ (rng_u64(key, PERM_STREAM + 1 + round, right) & mask);
        left = right;
        right = next;
    }
    return left << w | right;
}

uint64_t perm_at(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t i)
{
    if (i >= n)
        fatal(E_BUG, "perm_at: position %llu of %llu", (unsigned long long)i,
              (unsigned long long)n);
    if (n == 1)
        return 0;
    uint64_t key = rng_u64(seed, PERM_STREAM, epoch);
    int w = half_bits(n);
    /* At most 4·n values in the network's domain: under four steps on the average. */
    do
        i = feistel(key, w, i);
    while (i >= n);
    return i;
}
