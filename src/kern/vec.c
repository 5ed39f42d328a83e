#include "kern/vec.h"

#include "vmath.h"

void vec_add(float *restrict y, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

/* y may be a or b: each value is read before its place is written. */
void vec_sum2(float *y, const float *a, const float *b, size_t n)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void vec_scale(float *y, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= s;
}

double vec_sumsq(const float *x, size_t n)
{
    double acc[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) {
            double v = x[i + l];
            acc[l] += v * v;
        }
    for (size_t l = 0; i + l < n; l++)
        acc[l] += (double)x[i + l] * (double)x[i + l];
    return ((acc[0] + acc[4]) + (acc[2] + acc[6])) + ((acc[1] + acc[5]) + (acc[3] + acc[7]));
}

bool vec_finite(const float *x, size_t n)
{
    enum { CHUNK = 4096 }; /* short enough to leave early, long enough to be one vector loop */
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t m = n - i < CHUNK ? n - i : CHUNK;
        uint32_t bad = 0;
        for (size_t j = 0; j < m; j++)
            bad |= (float_bits(x[i + j]) & 0x7f800000u) == 0x7f800000u;
        if (bad)
            return false;
    }
    return true;
}

void vec_exp(float *y, const float *x, size_t n)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++)
        y[i] = vm_exp(x[i]);
}

void vec_tanh(float *y, const float *x, size_t n)
{
#pragma GCC ivdep
    for (size_t i = 0; i < n; i++)
        y[i] = vm_tanh(x[i]);
}
