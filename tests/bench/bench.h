/* What the measuring programs with ranks share: timing, and what memory gives. */
#ifndef CARAT_BENCH_H
#define CARAT_BENCH_H

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "par/comm.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MIB = 1 << 20, ROUNDS_MAX = 64, BUDGET_MIB = 8192 };

static struct comm world;

static inline void must(int rc)
{
    if (rc != OK)
        fatal(rc, "%s", err_message());
}

static inline float *floats(size_t n)
{
    float *p;
    must(mem_alloc(&p, n, sizeof *p, "bench"));
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i % 1000) * 1e-3f;
    return p;
}

/* The least over rounds of the slowest rank's seconds: on a shared machine, what is in the way of a
 * round says nothing about the code. */
static inline double timed(void (*work)(void *ctx), void *ctx, size_t bytes)
{
    double least = INFINITY;
    int rounds = (int)((size_t)BUDGET_MIB * MIB / (bytes * 16));
    rounds = rounds < 9 ? 9 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    work(ctx);
    for (int i = 0; i < rounds; i++) {
        MPI_Barrier(world.world);
        double start = clock_now_s();
        work(ctx);
        double s = clock_now_s() - start;
        MPI_Allreduce(MPI_IN_PLACE, &s, 1, MPI_DOUBLE, MPI_MAX, world.world);
        least = fmin(least, s);
    }
    return least;
}

/* ---- what memory gives when all ranks ask at once ---- */

struct adding {
    float *g, *sum;
    int64_t *fixed; /* in place of sum, where integers are tried */
    size_t n;
};

static inline void add_float(void *ctx)
{
    struct adding *a = ctx;
    float *restrict sum = a->sum;
    const float *restrict g = a->g;
    for (size_t i = 0; i < a->n; i++)
        sum[i] = sum[i] + g[i];
}

static inline void copy_float(void *ctx)
{
    struct adding *a = ctx;
    memcpy(a->sum, a->g, a->n * sizeof *a->g);
}

/* Bytes/s of a rank, read and written: the better of a sum in place and of memcpy. */
static inline double memory_rate(size_t n)
{
    struct adding a = {.g = floats(n), .sum = floats(n), .n = n};
    double bytes = (double)(n * sizeof(float));
    double add = 3 * bytes / timed(add_float, &a, n * sizeof(float));
    double copy = 2 * bytes / timed(copy_float, &a, n * sizeof(float));
    mem_free(a.g);
    mem_free(a.sum);
    return fmax(add, copy);
}

static inline void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void print(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (world.rank == 0)
        vprintf(fmt, ap);
    va_end(ap);
    fflush(stdout);
}

#endif
