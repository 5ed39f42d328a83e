/* The gradient's sum has the bits of a serial tree over the micro-batches, on any number of ranks.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "base/mem.h"
#include "par/exactsum.h"
#include "par/reduce.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define N_OF(a) (sizeof(a) / sizeof(a)[0])
#define B       SHARD_BLOCK

/* Value i of micro-batch m: magnitudes over 24 binary orders, so that order matters. */
static float leaf(int64_t m, size_t i)
{
    uint64_t h = ((uint64_t)m * 0x9e3779b97f4a7c15u) ^ (i * 0xbf58476d1ce4e5b9u);
    h ^= h >> 31;
    h *= 0x94d049bb133111ebu;
    h ^= h >> 29;
    return ldexpf((float)(int32_t)h, (int)(h >> 40) % 24 - 40);
}

/* The tree by its definition: node (l, j) of n micro-batches. */
static float node(int l, int64_t j, int64_t n, size_t i)
{
    if (l == 0)
        return leaf(j, i);
    float left = node(l - 1, 2 * j, n, i);
    return (2 * j + 1) << (l - 1) < n ? left + node(l - 1, 2 * j + 1, n, i) : left;
}

static float tree_sum(int64_t n, size_t i)
{
    int l = 0;
    while ((int64_t)1 << l < n)
        l++;
    return node(l, 0, n, i);
}

/* One running sum, and the sum of each rank's running sums. */
static float plain_sum(int64_t n, size_t i)
{
    float sum = leaf(0, i);
    for (int64_t m = 1; m < n; m++)
        sum += leaf(m, i);
    return sum;
}

static float ranks_sum(int64_t n, int size, size_t i)
{
    float all = 0;
    for (int r = 0; r < size; r++) {
        struct range mine = split_even((size_t)n, size, r);
        float sum = mine.n > 0 ? leaf((int64_t)mine.first, i) : 0;
        for (size_t m = 1; m < mine.n; m++)
            sum += leaf((int64_t)(mine.first + m), i);
        all = r == 0 ? sum : all + sum;
    }
    return all;
}

/* When set, ranks pause now and then, so that each is ahead of and behind the others in turn. */
static bool stumbling;

static void stumble(size_t at)
{
    if (stumbling && (at * 2654435761u + (size_t)ck_world.rank * 40503u) % 5 == 0)
        usleep(1500);
}

/* Fills a slab from its end to its beginning, in parts as uneven as a model's tensors. */
static void compute(struct reducer *r, float *slab, int64_t m, size_t n)
{
    size_t end = n, part = 1;
    while (end > 0) {
        part = part * 7 % 50021 + 1;
        size_t first = part < end ? end - part : 0;
        for (size_t i = first; i < end; i++)
            slab[i] = leaf(m, i);
        reducer_ready(r, first, end - first);
        stumble(first);
        end = first;
    }
}

static void step(struct reducer *r, int64_t n_micro, size_t n, float *out)
{
    struct range mine = reducer_begin(r, n_micro);
    for (size_t m = 0; m < mine.n; m++)
        compute(r, reducer_slab(r), (int64_t)(mine.first + m), n);
    stumble(n);
    ck_assert_int_eq(reducer_finish(r, out), OK);
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* True when every value of this rank's shard is the sum that `exact` asks for. */
static bool is_sum(const struct shard *s, const float *values, int64_t n_micro, bool exact)
{
    for (int k = 0; k < s->n_buckets; k++) {
        struct range p = shard_piece(s, k, s->rank);
        for (size_t i = 0; i < p.n; i++) {
            size_t at = p.first + i;
            float want = exact ? tree_sum(n_micro, at) : ranks_sum(n_micro, s->size, at);
            if (!same_bits(values[shard_offset(s, k, s->rank) + i], want))
                return false;
        }
    }
    return true;
}

static float *floats(size_t n)
{
    float *p = calloc(n > 0 ? n : 1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

struct shape {
    size_t n, bucket_bytes;
};

/* Slabs below a block, with fewer blocks than ranks, of uneven buckets, of more buckets than can be
 * under way. */
static const struct shape shapes[] = {
    {1, 1},
    {5, 4 * B},
    {3 * B, 4 * B},
    {2 * B + 17, 8 * B},
    {11 * B + 1, 12 * B},
    {29 * B + 100, 28 * B},
    {61 * B + 5, 4 * B},
};

static void try_shape(const struct comm *c, struct shape shape, bool exact, const int64_t *micro,
                      size_t n_steps)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = exact};
    shard_init(&s, shape.n, shape.bucket_bytes, ck_world.size, ck_world.rank);
    for (size_t i = 0; i < n_steps; i++)
        o.max_micro = micro[i] > o.max_micro ? micro[i] : o.max_micro;
    ck_all(&ck_world, reducer_new(&r, c, &s, &o) == OK);
    float *out = floats(shard_count(&s, s.rank));
    for (size_t i = 0; i < n_steps; i++) {
        step(r, micro[i], shape.n, i % 2 == 0 ? out : NULL);
        ck_all(&ck_world, is_sum(&s, i % 2 == 0 ? out : reducer_sum(r), micro[i], exact));
        for (size_t at = 0; at < shard_count(&s, s.rank); at++)
            reducer_sum(r)[at] = 0; /* the caller may change it */
        ck_all(&ck_world, reducer_wait_s(r) >= 0);
    }
    reducer_free(r);
    free(out);
}

/* Both ways to move partial sums: reading each other's memory, where that works, and messages. */
static void try_ways(struct shape shape, bool exact, const int64_t *micro, size_t n_steps)
{
    struct comm messages = ck_world;
    messages.peers = NULL;
    if (ck_world.peers != NULL)
        try_shape(&ck_world, shape, exact, micro, n_steps);
    try_shape(&messages, shape, exact, micro, n_steps);
}

START_TEST(memory_of_the_others_is_read)
{
    if (ck_world.peers == NULL && ck_world.size > 1)
        puts("SKIP: ranks cannot read each other's memory here; messages alone are tested");
}
END_TEST

START_TEST(sums_have_the_bits_of_the_tree)
{
    for (size_t i = 0; i < N_OF(shapes); i++)
        for (int64_t m = 1; m <= 13; m++) {
            int64_t steps[] = {m, m, m};
            try_ways(shapes[i], true, steps, m < 4 ? N_OF(steps) : 1);
        }
}
END_TEST

START_TEST(steps_may_differ_in_micro_batches)
{
    static const int64_t steps[] = {16, 1, 15, 7, 16, 3, 11, 2, 13};
    try_ways(shapes[5], true, steps, N_OF(steps));
    try_ways(shapes[3], false, steps, N_OF(steps));
}
END_TEST

START_TEST(ranks_may_run_apart)
{
    static const int64_t steps[] = {4, 8, 3, 6, 4, 4};
    stumbling = true;
    try_ways(shapes[6], true, steps, N_OF(steps));
    try_ways(shapes[5], false, steps, N_OF(steps));
    stumbling = false;
}
END_TEST

START_TEST(fast_adds_by_rank)
{
    for (size_t i = 0; i < N_OF(shapes); i++)
        for (int64_t m = 1; m <= 9; m += 2) {
            int64_t steps[] = {m, m};
            try_ways(shapes[i], false, steps, N_OF(steps));
        }
}
END_TEST

/* Otherwise the comparisons above would prove nothing. */
START_TEST(the_values_tell_orders_apart)
{
    for (int64_t m = 4; m <= 13; m++) {
        size_t differ = 0;
        for (size_t i = 0; i < B; i++)
            differ += !same_bits(tree_sum(m, i), plain_sum(m, i));
        ck_assert_uint_gt(differ, B / 100);
    }
    size_t differ = 0;
    for (size_t i = 0; i < B; i++)
        differ += !same_bits(ranks_sum(12, 4, i), ranks_sum(12, 3, i));
    ck_assert_uint_gt(differ, B / 100);
}
END_TEST

START_TEST(fast_is_close_to_exact)
{
    for (int64_t m = 2; m <= 12; m += 5)
        for (size_t i = 0; i < B; i++) {
            float size = 0;
            for (int64_t j = 0; j < m; j++)
                size += fabsf(leaf(j, i));
            /* m-1 additions, each within half an ulp of a partial sum, in both orders. */
            float tolerance = (float)m * 0x1p-23f * size;
            ck_assert(fabsf(tree_sum(m, i) - ranks_sum(m, ck_world.size, i)) <= tolerance);
        }
}
END_TEST

static void hold_bytes(size_t n, int64_t m, bool exact)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = exact, .max_micro = m};
    shard_init(&s, n, 16 * B, ck_world.size, ck_world.rank);
    size_t before = mem_bytes();
    ck_all(&ck_world, reducer_new(&r, &ck_world, &s, &o) == OK);
    ck_all(&ck_world, mem_bytes() - before == reducer_bytes(&s, &o));
    float *out = floats(shard_count(&s, s.rank));
    size_t allocs = mem_n_allocs();
    step(r, m, n, out);
    step(r, m, n, out);
    ck_all(&ck_world, mem_n_allocs() == allocs);
    free(out);
    reducer_free(r);
    ck_all(&ck_world, mem_bytes() == before);
}

START_TEST(memory_is_as_planned_and_steps_take_none)
{
    static const int64_t micro[] = {1, 2, 5, 8, 17};
    for (size_t i = 0; i < N_OF(micro); i++) {
        hold_bytes(21 * B + 3, micro[i], true);
        hold_bytes(100, micro[i], false);
    }
}
END_TEST

START_TEST(too_many_micro_batches_are_refused)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = true, .max_micro = (int64_t)1 << 41};
    shard_init(&s, 1, 1, ck_world.size, ck_world.rank);
    ck_all(&ck_world, reducer_new(&r, &ck_world, &s, &o) == E_CONFIG);
    ck_all(&ck_world, r == NULL);
    err_clear();
}
END_TEST

/* The sum of squares over all ranks. */
static double sumsq_over_ranks(const struct shard *s, const float *slab)
{
    float *values = floats(shard_count(s, s->rank));
    struct exactsum mine, all;
    int64_t packed[EXACT_LIMBS + 1];
    for (int k = 0; k < s->n_buckets; k++) {
        struct range p = shard_piece(s, k, s->rank);
        memcpy(values + shard_offset(s, k, s->rank), slab + p.first, p.n * sizeof *slab);
    }
    reduce_sumsq(&mine, s, values);
    exactsum_pack(&mine, packed);
    if (s->size > 1)
        MPI_Allreduce(MPI_IN_PLACE, packed, EXACT_LIMBS + 1, MPI_INT64_T, MPI_SUM, ck_world.world);
    exactsum_unpack(&all, packed);
    free(values);
    return exactsum_value(&all);
}

/* 16 lanes and a tree lose less than this many ulp of a block's sum; blocks are added exactly. */
#define SUMSQ_TOLERANCE (B * 0x1p-53)

START_TEST(sums_of_squares_do_not_depend_on_the_cut)
{
    for (size_t c = 0; c < N_OF(shapes); c++) {
        struct shard shared, alone;
        size_t n = shapes[c].n;
        shard_init(&shared, n, shapes[c].bucket_bytes, ck_world.size, ck_world.rank);
        shard_init(&alone, n, 1, 1, 0);
        float *slab = floats(n);
        long double want = 0;
        for (size_t i = 0; i < n; i++) {
            slab[i] = leaf(3, i);
            want += (long double)slab[i] * slab[i];
        }
        double one = sumsq_over_ranks(&alone, slab), all = sumsq_over_ranks(&shared, slab);
        ck_all(&ck_world, memcmp(&one, &all, sizeof one) == 0);
        ck_all(&ck_world, fabsl(one - want) <= SUMSQ_TOLERANCE * want);
        free(slab);
    }
}
END_TEST

START_TEST(a_sum_of_squares_shows_what_is_not_finite)
{
    float x[100] = {1};
    struct shard s;
    struct exactsum sum;
    shard_init(&s, N_OF(x), 1, 1, 0);
    x[99] = NAN;
    reduce_sumsq(&sum, &s, x);
    ck_assert(isnan(exactsum_value(&sum)));
    x[99] = -INFINITY;
    reduce_sumsq(&sum, &s, x);
    ck_assert(exactsum_value(&sum) == INFINITY);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, memory_of_the_others_is_read);
    tcase_add_test(t, sums_have_the_bits_of_the_tree);
    tcase_add_test(t, steps_may_differ_in_micro_batches);
    tcase_add_test(t, ranks_may_run_apart);
    tcase_add_test(t, fast_adds_by_rank);
    tcase_add_test(t, the_values_tell_orders_apart);
    tcase_add_test(t, fast_is_close_to_exact);
    tcase_add_test(t, memory_is_as_planned_and_steps_take_none);
    tcase_add_test(t, too_many_micro_batches_are_refused);
    tcase_add_test(t, sums_of_squares_do_not_depend_on_the_cut);
    tcase_add_test(t, a_sum_of_squares_shows_what_is_not_finite);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/reduce", add);
}
