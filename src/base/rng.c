#include "base/rng.h"

#include <math.h>

enum { ROUNDS = 10 };

static void philox_round(uint32_t c[4], const uint32_t k[2])
{
    uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t c1 = c[1], c3 = c[3];
    c[0] = (uint32_t)(p1 >> 32) ^ c1 ^ k[0];
    c[1] = (uint32_t)p1;
    c[2] = (uint32_t)(p0 >> 32) ^ c3 ^ k[1];
    c[3] = (uint32_t)p0;
}

void rng_philox(uint32_t out[4], uint64_t key, uint64_t stream, uint64_t counter)
{
    uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    out[0] = (uint32_t)counter;
    out[1] = (uint32_t)(counter >> 32);
    out[2] = (uint32_t)stream;
    out[3] = (uint32_t)(stream >> 32);
    for (int i = 0; i < ROUNDS; i++) {
        philox_round(out, k);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
}

static uint64_t join(uint32_t lo, uint32_t hi)
{
    return (uint64_t)hi << 32 | lo;
}

uint64_t rng_u64(uint64_t key, uint64_t stream, uint64_t counter)
{
    uint32_t w[4];
    rng_philox(w, key, stream, counter);
    return join(w[0], w[1]);
}

double rng_uniform(uint64_t key, uint64_t stream, uint64_t counter)
{
    return (double)(rng_u64(key, stream, counter) >> 11) * 0x1p-53;
}

double rng_normal(uint64_t key, uint64_t stream, uint64_t counter)
{
    uint32_t w[4];
    rng_philox(w, key, stream, counter);
    /* u in (0,1], so that its logarithm is finite. */
    double u = (double)((join(w[0], w[1]) >> 11) + 1) * 0x1p-53;
    double v = (double)(join(w[2], w[3]) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}
