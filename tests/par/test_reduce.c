/* The gradient's sum has the bits of a serial tree over the micro-batches, on any number of ranks
 * in teams of any size. ranks: 1 2 3 4 6 */
#include "mpi_main.h"

#include "base/fault.h"
#include "base/mem.h"
#include "par/exactsum.h"
#include "par/fold.h"
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

/* One running sum. */
static float plain_sum(int64_t n, size_t i)
{
    float sum = leaf(0, i);
    for (int64_t m = 1; m < n; m++)
        sum += leaf(m, i);
    return sum;
}

static float sum_of_sizes(int64_t n, size_t i)
{
    float sum = 0;
    for (int64_t m = 0; m < n; m++)
        sum += fabsf(leaf(m, i));
    return sum;
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

static void step(struct reducer *r, size_t n)
{
    struct range mine = reducer_begin(r);
    for (size_t m = 0; m < mine.n; m++)
        compute(r, reducer_slab(r), (int64_t)(mine.first + m), n);
    stumble(n);
    ck_assert_int_eq(reducer_finish(r), OK);
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Calls is_right for all values in this rank's pieces. */
static bool all_values(const struct shard *s, const float *slab,
                       bool (*is_right)(float v, size_t i, int64_t n_micro), int64_t n_micro)
{
    bool right = true;
    for (int k = 0; k < s->n_buckets; k++) {
        struct range p = shard_piece(s, k, s->rank);
        for (size_t i = p.first; i < p.first + p.n; i++)
            right = right && is_right(slab[i], i, n_micro);
    }
    return right;
}

static bool is_tree_sum(float v, size_t i, int64_t n_micro)
{
    return same_bits(v, tree_sum(n_micro, i));
}

/* Two orders of n-1 additions each, every one within half an ulp of a partial sum. */
static bool is_any_sum(float v, size_t i, int64_t n_micro)
{
    return fabsf(v - tree_sum(n_micro, i)) <= (float)n_micro * 0x1p-23f * sum_of_sizes(n_micro, i);
}

/* A sum that a team sends is rounded once, to 8 bits: by at most 2^-8 of it. */
static bool is_rounded_sum(float v, size_t i, int64_t n_micro)
{
    return fabsf(v - tree_sum(n_micro, i)) <=
           (0x1p-8f + (float)n_micro * 0x1p-23f) * sum_of_sizes(n_micro, i);
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

/* Block by block, as they lie in the slab. */
static void sumsq_of_pieces(struct exactsum *sum, const struct shard *s, const float *slab)
{
    exactsum_clear(sum);
    for (int k = 0; k < s->n_buckets; k++) {
        struct range p = shard_piece(s, k, s->rank);
        for (size_t at = 0; at < p.n; at += B)
            exactsum_add(sum, fold_sumsq(slab + p.first + at, p.n - at < B ? p.n - at : B));
    }
}

/* ---- teams ---- */

static struct comm in_teams(int per)
{
    struct comm c = ck_world;
    c.team.per = per;
    MPI_Comm_split(c.world, c.rank / per, c.rank, &c.team_world);
    return c;
}

struct way {
    enum dtype wire;
    bool exact;
    bool (*is_right)(float v, size_t i, int64_t n_micro);
};
static const struct way exact = {F32, true, is_tree_sum}, fast = {F32, false, is_any_sum},
                        narrow = {BF16, false, is_rounded_sum};

static void try_teams(const struct comm *c, struct shape shape, struct way way, int64_t n_micro,
                      int n_steps)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = way.exact, .wire = way.wire, .n_micro = n_micro};
    shard_init(&s, shape.n, shape.bucket_bytes, ck_world.size, ck_world.rank);
    ck_all(&ck_world, reducer_new(&r, c, &s, &o) == OK);
    for (int i = 0; i < n_steps; i++) {
        step(r, shape.n);
        ck_all(&ck_world, all_values(&s, reducer_sum(r), way.is_right, n_micro));
        struct exactsum squares = *reducer_sumsq(r), want;
        sumsq_of_pieces(&want, &s, reducer_sum(r));
        ck_all(&ck_world, exactsum_value(&squares) == exactsum_value(&want));
        for (int k = 0; k < s.n_buckets; k++) { /* the caller may change it */
            struct range p = shard_piece(&s, k, s.rank);
            memset(reducer_sum(r) + p.first, 0, p.n * sizeof(float));
        }
    }
    reducer_free(r);
}

/* In teams of all sizes: from all by messages to all in shared memory. */
static void try_shape(struct shape shape, struct way way, int64_t n_micro, int n_steps)
{
    for (int per = 1; per <= ck_world.size; per++) {
        struct comm c = in_teams(per);
        try_teams(&c, shape, way, n_micro, n_steps);
        MPI_Comm_free(&c.team_world);
    }
}

START_TEST(sums_have_the_bits_of_the_tree)
{
    for (size_t i = 0; i < N_OF(shapes); i++)
        for (int64_t m = 1; m <= 13; m += i < 4 ? 1 : 3)
            try_shape(shapes[i], exact, m, m < 4 ? 3 : 1);
}
END_TEST

START_TEST(ranks_may_run_apart)
{
    static const int64_t micro[] = {4, 8, 3, 6};
    stumbling = true;
    for (size_t i = 0; i < N_OF(micro); i++) {
        try_shape(shapes[6], exact, micro[i], 3);
        try_shape(shapes[5], fast, micro[i], 2);
    }
    stumbling = false;
}
END_TEST

START_TEST(fast_sums_in_some_order)
{
    for (size_t i = 0; i < N_OF(shapes); i++)
        for (int64_t m = 1; m <= 9; m += 2)
            try_shape(shapes[i], fast, m, 2);
}
END_TEST

START_TEST(a_narrow_wire_rounds_between_teams)
{
    for (size_t i = 0; i < N_OF(shapes); i++)
        for (int64_t m = 1; m <= 9; m += 4)
            try_shape(shapes[i], narrow, m, 2);
}
END_TEST

START_TEST(an_exact_sum_refuses_a_narrow_wire)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = true, .wire = BF16, .n_micro = 1};
    shard_init(&s, 1, 1, ck_world.size, ck_world.rank);
    ck_all(&ck_world, reducer_new(&r, &ck_world, &s, &o) == E_CONFIG && r == NULL);
    err_clear();
}
END_TEST

/* A small /dev/shm, as containers have it: the sum goes by messages, with a warning. */
START_TEST(without_room_for_windows_messages_do)
{
    setenv("CARAT_FAULT", "window:*", 1);
    fault_rearm();
    try_teams(&ck_world, shapes[5], exact, 5, 2);
    unsetenv("CARAT_FAULT");
    fault_rearm();
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
}
END_TEST

static void hold_bytes(size_t n, int64_t m, bool is_exact)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = is_exact, .n_micro = m};
    shard_init(&s, n, 16 * B, ck_world.size, ck_world.rank);
    for (int per = 1; per <= ck_world.size; per++) {
        struct comm c = in_teams(per);
        size_t before = mem_bytes();
        ck_all(&ck_world, reducer_new(&r, &c, &s, &o) == OK);
        ck_all(&ck_world, mem_bytes() - before == reducer_bytes(&c.team, &s, &o));
        size_t allocs = mem_n_allocs();
        step(r, n);
        step(r, n);
        ck_all(&ck_world, mem_n_allocs() == allocs);
        reducer_free(r);
        ck_all(&ck_world, mem_bytes() == before);
        MPI_Comm_free(&c.team_world);
    }
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

/* Steps of a batch that grows and falls, ranks apart: the bits of each step's tree, in the room
 * planned for the step that needs most. */
static void change_micros(const struct comm *c, struct way way)
{
    static const int64_t micro[] = {2, 7, 1, 12, 12, 5, 3};
    struct shape shape = shapes[5];
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = way.exact, .wire = way.wire, .n_micro = micro[0]};
    for (size_t i = 1; i < N_OF(micro); i++)
        o.other[o.n_other++] = micro[i];
    size_t before = mem_bytes();
    shard_init(&s, shape.n, shape.bucket_bytes, ck_world.size, ck_world.rank);
    ck_all(&ck_world, reducer_new(&r, c, &s, &o) == OK);
    ck_all(&ck_world, mem_bytes() - before == reducer_bytes(&c->team, &s, &o));
    size_t allocs = mem_n_allocs();
    for (size_t i = 0; i < N_OF(micro); i++) {
        reducer_set_micros(r, micro[i]);
        step(r, shape.n);
        ck_all(&ck_world, all_values(&s, reducer_sum(r), way.is_right, micro[i]));
    }
    ck_all(&ck_world, mem_n_allocs() == allocs);
    reducer_free(r);
}

START_TEST(the_number_of_micro_batches_may_change)
{
    stumbling = true;
    for (int per = 1; per <= ck_world.size; per++) {
        struct comm c = in_teams(per);
        change_micros(&c, exact);
        change_micros(&c, fast);
        change_micros(&c, narrow);
        MPI_Comm_free(&c.team_world);
    }
    stumbling = false;
}
END_TEST

START_TEST(too_many_micro_batches_are_refused)
{
    struct shard s;
    struct reducer *r;
    struct reduce_options o = {.exact = true, .n_micro = (int64_t)1 << 41};
    shard_init(&s, 1, 1, ck_world.size, ck_world.rank);
    ck_all(&ck_world, reducer_new(&r, &ck_world, &s, &o) == E_CONFIG);
    ck_all(&ck_world, r == NULL);
    err_clear();
}
END_TEST

/* The sum of squares over all ranks. */
static double sumsq_over_ranks(const struct shard *s, const float *slab)
{
    struct exactsum mine, all;
    int64_t packed[EXACT_LIMBS + 1];
    sumsq_of_pieces(&mine, s, slab);
    exactsum_pack(&mine, packed);
    if (s->size > 1)
        MPI_Allreduce(MPI_IN_PLACE, packed, EXACT_LIMBS + 1, MPI_INT64_T, MPI_SUM, ck_world.world);
    exactsum_unpack(&all, packed);
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
    x[99] = NAN;
    ck_assert(isnan(fold_sumsq(x, N_OF(x))));
    x[99] = -INFINITY;
    ck_assert(fold_sumsq(x, N_OF(x)) == INFINITY);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, sums_have_the_bits_of_the_tree);
    tcase_add_test(t, ranks_may_run_apart);
    tcase_add_test(t, fast_sums_in_some_order);
    tcase_add_test(t, a_narrow_wire_rounds_between_teams);
    tcase_add_test(t, an_exact_sum_refuses_a_narrow_wire);
    tcase_add_test(t, without_room_for_windows_messages_do);
    tcase_add_test(t, the_values_tell_orders_apart);
    tcase_add_test(t, memory_is_as_planned_and_steps_take_none);
    tcase_add_test(t, the_number_of_micro_batches_may_change);
    tcase_add_test(t, too_many_micro_batches_are_refused);
    tcase_add_test(t, sums_of_squares_do_not_depend_on_the_cut);
    tcase_add_test(t, a_sum_of_squares_shows_what_is_not_finite);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/reduce", add);
}
