/* What the gradient's sum costs, against what memory allows: shared memory and messages against
 * MPI_Allreduce, additions against running sums and against fixed-point integers.
 * `mpirun -n 2 .build/release/tests/bench/reduce`; an argument is the bucket in MiB. For `make
 * bench`: ranks: 2 */
#include "par/reduce.h"
#include "bench/bench.h"
#include "par/zero.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PART = 1 << 18 };

static size_t bucket_bytes = 16 * MIB;

/* ---- the reduction ---- */

struct job {
    struct comm comm;
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
    struct range mine = split_even((size_t)j->n_micro, world.size, world.rank);
    if (j->sums)
        mine = reducer_begin(j->r);
    for (size_t m = 0; m < mine.n; m++)
        write_gradient(j, j->sums ? reducer_slab(j->r) : j->slab);
    if (j->sums)
        must(reducer_finish(j->r));
}

/* The sum alone: the gradient is there. */
static void reduce(void *ctx)
{
    struct job *j = ctx;
    reducer_begin(j->r);
    reducer_slab(j->r);
    reducer_ready(j->r, 0, j->shard.n);
    must(reducer_finish(j->r));
}

static void gather(void *ctx)
{
    struct job *j = ctx;
    must(zero_allgather(&j->comm, &j->shard, j->slab));
}

static void allreduce(void *ctx)
{
    struct job *j = ctx;
    MPI_Allreduce(MPI_IN_PLACE, j->slab, (int)j->shard.n, MPI_FLOAT, MPI_SUM, world.world);
}

static struct job job_of(const struct comm *c, size_t bytes, struct reduce_options o)
{
    struct job j = {.comm = *c, .n_micro = o.n_micro, .sums = true};
    j.slab = floats(bytes / sizeof(float));
    shard_init(&j.shard, bytes / sizeof(float), bucket_bytes, world.size, world.rank);
    must(reducer_new(&j.r, c, &j.shard, &o));
    return j;
}

static void release(struct job *j)
{
    reducer_free(j->r);
    mem_free(j->slab);
}

/* Each rank reads its share of every rank's gradient and writes its share of the sum. */
static double floor_s(size_t bytes, double rate)
{
    return (double)bytes * (world.size + 1) / world.size / rate;
}

static void bench_reduction(const struct comm *c, const char *way, enum dtype wire, double rate)
{
    static const size_t mib[] = {1, 16, 256, 1024};
    print("\nGB/s of gradient, %d ranks by %s, buckets of %.1f MiB, one micro-batch a rank\n",
          world.size, way, (double)bucket_bytes / MIB);
    print("%8s %10s %12s %10s %12s %14s\n", "MiB", "reduce", "% of floor", "gather", "both",
          "MPI_Allreduce");
    for (size_t i = 0; i < sizeof mib / sizeof mib[0]; i++) {
        size_t bytes = mib[i] * MIB;
        struct reduce_options o = {.exact = wire == F32, .wire = wire, .n_micro = world.size};
        struct job j = job_of(c, bytes, o);
        double sum = timed(reduce, &j, bytes), all = timed(gather, &j, bytes);
        double mpi = timed(allreduce, &j, bytes), gb = (double)bytes * 1e-9;
        print("%8zu %10.2f %12.0f %10.2f %12.2f %14.2f\n", mib[i], gb / sum,
              100 * floor_s(bytes, rate) / sum, gb / all, gb / (sum + all), gb / mpi);
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
            struct reduce_options o = {.exact = how == 2, .n_micro = each[i] * world.size};
            struct job j = job_of(&world, bytes, o);
            j.sums = how > 0;
            s[how] = timed(accumulate, &j, bytes);
            release(&j);
        }
        print("%18d %10.1f %10.1f %10.1f %16.1f\n", (int)each[i], s[0] * 1e3, (s[1] - s[0]) * 1e3,
              (s[2] - s[0]) * 1e3, (s[2] - s[1]) * 1e3);
    }
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
    struct adding a = {.g = floats(n), .sum = floats(n), .n = n};
    must(mem_alloc(&a.fixed, n, sizeof *a.fixed, "bench"));
    double tree = timed(add_float, &a, bytes), fixed = timed(add_fixed, &a, bytes);
    double gb = (double)bytes * 1e-9;
    print("\nadding a micro-batch of %.0f MiB into a sum (an exact tree adds once a micro-batch)\n",
          (double)bytes / MIB);
    print("%24s %10s %14s %16s\n", "", "ms", "GB/s gradient", "bytes a value");
    print("%24s %10.1f %14.2f %16d\n", "float", tree * 1e3, gb / tree, 12);
    print("%24s %10.1f %14.2f %16d\n", "int64 fixed point", fixed * 1e3, gb / fixed, 20);
    mem_free(a.g);
    mem_free(a.sum);
    mem_free(a.fixed);
}

int main(int argc, char **argv)
{
    must(comm_init(&world, &argc, &argv));
    if (argc > 1)
        bucket_bytes = (size_t)(atof(argv[1]) * MIB);
    double rate = memory_rate((size_t)64 * MIB);
    print("memory: %.2f GB/s a rank with %d ranks at once, read and written\n", rate * 1e-9,
          world.size);
    struct comm apart = comm_without_teams(&world);
    bench_reduction(&world, "shared memory", F32, rate);
    bench_reduction(&apart, "messages", F32, rate);
    bench_reduction(&apart, "messages of bf16", BF16, rate);
    bench_orders((size_t)64 * MIB);
    bench_merge((size_t)64 * MIB);
    comm_end(&world);
    return 0;
}
