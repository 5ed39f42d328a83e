#include "kern/dropout.h"

#include <math.h>

/* Counters drawn at a time, halves of 32-bit words that each gives, and rounds of Philox4x32. The
 * mask depends on LANES, whatever the machine's vectors are. */
enum { LANES = 16, HALVES = 8, BLOCK = LANES * HALVES, ROUNDS = 10 };

/* Draws for other purposes have the seed itself for a key. */
#define KEY UINT64_C(0x64726f706f757421)

/* Word i of counter first + lane in word[i][lane]: rng_philox for LANES counters side by side. */
static void draw(uint32_t word[4][LANES], uint64_t key, uint64_t stream, uint64_t first)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (unsigned l = 0; l < LANES; l++) {
        word[0][l] = (uint32_t)(first + l);
        word[1][l] = (uint32_t)((first + l) >> 32);
        word[2][l] = (uint32_t)stream;
        word[3][l] = (uint32_t)(stream >> 32);
    }
    for (int i = 0; i < ROUNDS; i++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
        for (int l = 0; l < LANES; l++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * word[0][l];
            uint64_t p1 = (uint64_t)0xCD9E8D57u * word[2][l];
            word[0][l] = (uint32_t)(p1 >> 32) ^ word[1][l] ^ k0;
            word[1][l] = (uint32_t)p1;
            word[2][l] = (uint32_t)(p0 >> 32) ^ word[3][l] ^ k1;
            word[3][l] = (uint32_t)p0;
        }
}

/* Values [h·LANES, (h+1)·LANES) of a block of n ask half h of each lane. */
static void drop_block(float *y, const float *x, size_t n, uint32_t word[4][LANES], uint32_t limit,
                       float scale)
{
    for (size_t h = 0; h < HALVES && h * LANES < n; h++) {
        const uint32_t *w = word[h / 2];
        size_t from = h * LANES, count = n - from < LANES ? n - from : LANES;
        int shift = h % 2 ? 16 : 0;
        for (size_t l = 0; l < count; l++)
            y[from + l] = (w[l] >> shift & 0xffffu) < limit ? 0.0f : x[from + l] * scale;
    }
}

void dropout(float *y, const float *x, const struct dropout *o, size_t B, size_t T, size_t d)
{
    uint32_t word[4][LANES], limit = (uint32_t)lround(o->share * 65536);
    float scale = (float)(65536.0 / (65536.0 - limit));
    uint64_t blocks = (d + BLOCK - 1) / BLOCK;
    for (size_t row = 0; row < B * T; row++) {
        uint64_t first = (o->place * T + row % T) * blocks * LANES;
        for (size_t j = 0; j < d; j += BLOCK) {
            draw(word, o->seed ^ KEY, o->sample + row / T, first + j / BLOCK * LANES);
            size_t at = row * d + j;
            drop_block(y + at, x + at, d - j < BLOCK ? d - j : BLOCK, word, limit, scale);
        }
    }
}
