#include "ref/ref.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const size_t ref_sizes[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 100, 129, 257};
const size_t ref_n_sizes = sizeof ref_sizes / sizeof *ref_sizes;

static void *cleared(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        fprintf(stderr, "no memory for %zu values\n", n);
        exit(EXIT_FAILURE);
    }
    return p;
}

float *ref_floats(size_t n)
{
    return cleared(n, sizeof(float));
}

double *ref_doubles(size_t n)
{
    return cleared(n, sizeof(double));
}

/* Source: Steele, Lea and Flood 2014, SplitMix64. */
static uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t draw(uint64_t seed, uint64_t i)
{
    return mixed(mixed(seed) + (i + 1) * 0x9e3779b97f4a7c15u);
}

double *ref_random_double(size_t n, uint64_t seed, double scale)
{
    double *x = ref_doubles(n);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * ((double)(draw(seed, i) >> 11) * 0x1p-52 - 1.0);
    return x;
}

float *ref_random(size_t n, uint64_t seed, double scale)
{
    float *x = ref_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * ((double)(draw(seed, i) >> 11) * 0x1p-52 - 1.0));
    return x;
}

int32_t *ref_random_ints(size_t n, uint64_t seed, uint32_t below)
{
    int32_t *x = cleared(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (int32_t)(draw(seed, i) % below);
    return x;
}

double *ref_widen(const float *x, size_t n)
{
    double *y = ref_doubles(n);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i];
    return y;
}

void *ref_typed(const float *x, enum dtype t, size_t n)
{
    void *y = cleared(n, dtype_size(t));
    if (t == BF16)
        bf16_narrow(y, x, n);
    else
        memcpy(y, x, n * sizeof *x);
    return y;
}

float *ref_untyped(const void *x, enum dtype t, size_t n)
{
    float *y = ref_floats(n);
    if (t == BF16)
        bf16_widen(y, x, n);
    else
        memcpy(y, x, n * sizeof *y);
    return y;
}

double ref_distance_rows(const float *got, size_t ld, const double *want, size_t n, size_t d)
{
    double worst = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++) {
            double g = got[i * ld + j], w = want[i * d + j];
            if (!isfinite(g))
                return INFINITY;
            worst = fmax(worst, fabs(g - w));
            size = fmax(size, fabs(w));
        }
    return size > 0.0 ? worst / size : worst;
}

double ref_distance(const float *got, const double *want, size_t n)
{
    return ref_distance_rows(got, n, want, 1, n);
}

double ref_grad_distance(const double *grad, double *x, size_t n, ref_function *f, void *context)
{
    const double h = 1e-5;
    double worst = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        double was = x[i];
        x[i] = was + h;
        double above = f(x, context);
        x[i] = was - h;
        double below = f(x, context);
        x[i] = was;
        worst = fmax(worst, fabs((above - below) / (2.0 * h) - grad[i]));
        size = fmax(size, fabs(grad[i]));
    }
    return size > 0.0 ? worst / size : worst;
}
