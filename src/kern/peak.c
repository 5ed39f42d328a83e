#include "kern/peak.h"
#include "base/clock.h"

/* Sixteen floats fill one AVX-512 register, two AVX2 ones; twelve chains cover the latency. */
typedef float lanes __attribute__((vector_size(64)));
enum { CHAINS = 12, FLOPS_A_ROUND = CHAINS * 16 * 2 };

static double run_rounds(long rounds)
{
    lanes acc[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        acc[c] = (lanes){0} + (float)c;
    const lanes a = (lanes){0} + 0.999f, b = (lanes){0} + 1e-3f;
    double begin = clock_now_s();
    for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            acc[c] = acc[c] * a + b;
    }
    double seconds = clock_now_s() - begin;
    volatile float sink = 0;
    for (int c = 0; c < CHAINS; c++)
        sink += acc[c][0];
    return seconds;
}

double peak_fma_flops(double seconds)
{
    long rounds = 20000;
    double best = 0, spent = 0;
    while (spent < seconds) {
        double s = run_rounds(rounds);
        spent += s;
        double rate = (double)rounds * FLOPS_A_ROUND / s;
        best = rate > best ? rate : best;
    }
    return best;
}
