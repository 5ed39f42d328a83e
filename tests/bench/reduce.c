/* What the gradient's sum costs: messages against MPI_Allreduce, additions against running sums and
 * against fixed-point integers. `mpirun -n 2 .build/release/tests/bench/reduce`; an argument is the
 * bucket in MiB. For `make bench`: ranks: 2 */
#include "par/reduce.h"
#include "base/clock.h"
#include "base/err.h"
#include "par/comm.h"
#include "par/zero.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20, PART = 1 << 18, ROUNDS_MAX = 64, BUDGET_MIB = 8192 };

static struct comm world;
static size_t bucket_bytes = 4 * MIB;

static void must(int rc)
{
    if (rc != OK)
        fatal(rc, "%s", err_message());
}

static float *floats(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    if (p == NULL)
        fatal(E_MEM, "no memory for %zu floats", n);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i % 1000) * 1e-3f;
    return p;
}

/* The least over rounds of the slowest rank's seconds: on a shared machine, what is in the way of a
 * round says nothing about the code. */
static double timed(void (*work)(void *ctx), void *ctx, size_t bytes)
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

struct job {
    struct shard shard;
    struct reducer *r;
    float *slab;
    int64_t n_micro;
    bool sums; /* else the gradients are only written */
};

/* A gradient as a backward pass leaves it: from the end, in parts that the cache still holds. */
static void write_gradient(struct job *j, float *slab)
{
    for (size_t end = j->shard.n, first; end > 0; end = first) {
        first = end > PART ? end - PART : 0;
        memset(slab + first, 0, (end - first) * sizeof *slab);
        if (j->sums)
            reducer_ready(j->r, first, end - first);
    }
}

static void accumulate(void *ctx)
{
    struct job *j = ctx;
    struct range mine = reducer_begin(j->r, j->n_micro);
    for (size_t m = 0; m < mine.n; m++)
        write_gradient(j, j->sums ? reducer_slab(j->r) : j->slab);
    if (j->sums)
        must(reducer_finish(j->r, NULL));
}

/* The messages alone: the gradient is there. */
static void reduce(void *ctx)
{
    struct job *j = ctx;
    reducer_begin(j->r, j->n_micro);
    reducer_ready(j->r, 0, j->shard.n);
    must(reducer_finish(j->r, NULL));
}

static void gather(void *ctx)
{
    struct job *j = ctx;
    must(zero_allgather(&world, &j->shard, j->slab));
}

static void allreduce(void *ctx)
{
    struct job *j = ctx;
    MPI_Allreduce(MPI_IN_PLACE, j->slab, (int)j->shard.n, MPI_FLOAT, MPI_SUM, world.world);
}

static struct job job_of(size_t bytes, bool exact, int64_t n_micro)
{
    struct job j = {.n_micro = n_micro, .sums = true, .slab = floats(bytes / sizeof(float))};
    struct reduce_options o = {.exact = exact, .max_micro = n_micro};
    shard_init(&j.shard, bytes / sizeof(float), bucket_bytes, world.size, world.rank);
    must(reducer_new(&j.r, &world, &j.shard, &o));
    return j;
}

static void release(struct job *j)
{
    reducer_free(j->r);
    free(j->slab);
}

static void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void print(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (world.rank == 0)
        vprintf(fmt, ap);
    va_end(ap);
    fflush(stdout);
}

static void bench_messages(const char *way)
{
    static const size_t mib[] = {1, 16, 256};
    print("\nGB/s of gradient, %d ranks by %s, buckets of %.1f MiB, one micro-batch a rank\n",
          world.size, way, (double)bucket_bytes / MIB);
    print("%8s %10s %10s %12s %14s %8s\n", "MiB", "reduce", "gather", "both", "MPI_Allreduce",
          "ratio");
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        size_t bytes = mib[i] * MIB;
        struct job j = job_of(bytes, true, world.size);
        double sum = timed(reduce, &j, bytes), all = timed(gather, &j, bytes);
        double mpi = timed(allreduce, &j, bytes), gb = (double)bytes * 1e-9;
        print("%8zu %10.2f %10.2f %12.2f %14.2f %8.2f\n", mib[i], gb / sum, gb / all,
              gb / (sum + all), gb / mpi, mpi / (sum + all));
        release(&j);
    }
}

static void bench_orders(size_t bytes)
{
    static const int64_t each[] = {1, 2, 8};
    print("\nms a step of %.0f MiB of gradient, the gradient's writing left out\n",
          (double)bytes / MIB);
    print("%18s %10s %10s %10s %16s\n", "micro-batches/rank", "writing", "fast", "exact",
          "exact - fast");
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        double s[3];
        for (int how = 0; how < 3; how++) {
            struct job j = job_of(bytes, how == 2, each[i] * world.size);
            j.sums = how > 0;
            s[how] = timed(accumulate, &j, bytes);
            release(&j);
        }
        print("%18d %10.1f %10.1f %10.1f %16.1f\n", (int)each[i], s[0] * 1e3, (s[1] - s[0]) * 1e3,
              (s[2] - s[0]) * 1e3, (s[2] - s[1]) * 1e3);
    }
}

struct adding {
    float *g, *sum;
    int64_t *fixed;
    size_t n;
};

static void add_float(void *ctx)
{
    struct adding *a = ctx;
    float *restrict sum = a->sum;
    const float *restrict g = a->g;
    for (size_t i = 0; i < a->n; i++)
        sum[i] = sum[i] + g[i];
}

/* The alternative: integers add in any order, but a unit has to be chosen beforehand (here 2^-40,
 * so that up to 2^23 fits), small values lose their bits, and sums and messages are twice as wide.
 */
static void add_fixed(void *ctx)
{
    struct adding *a = ctx;
    int64_t *restrict sum = a->fixed;
    const float *restrict g = a->g;
    for (size_t i = 0; i < a->n; i++)
        sum[i] += (int64_t)(g[i] * 0x1p40f);
}

static void bench_merge(size_t bytes)
{
    size_t n = bytes / sizeof(float);
    struct adding a = {floats(n), floats(n), aligned_alloc(64, n * sizeof(int64_t)), n};
    if (a.fixed == NULL)
        fatal(E_MEM, "no memory");
    memset(a.fixed, 0, n * sizeof *a.fixed);
    double tree = timed(add_float, &a, bytes), fixed = timed(add_fixed, &a, bytes);
    double gb = (double)bytes * 1e-9;
    print("\nadding a micro-batch of %.0f MiB into a sum (an exact tree adds once a micro-batch)\n",
          (double)bytes / MIB);
    print("%24s %10s %14s %16s\n", "", "ms", "GB/s gradient", "bytes a value");
    print("%24s %10.1f %14.2f %16d\n", "float", tree * 1e3, gb / tree, 12);
    print("%24s %10.1f %14.2f %16d\n", "int64 fixed point", fixed * 1e3, gb / fixed, 20);
    free(a.g);
    free(a.sum);
    free(a.fixed);
}

int main(int argc, char **argv)
{
    must(comm_init(&world, &argc, &argv));
    if (argc > 1)
        bucket_bytes = (size_t)(atof(argv[1]) * MIB);
    struct comm all = world;
    if (world.peers != NULL)
        bench_messages("reading memory");
    world.peers = NULL;
    bench_messages("messages");
    world = all;
    bench_orders((size_t)64 * MIB);
    bench_merge((size_t)64 * MIB);
    comm_end(&world);
    return 0;
}
