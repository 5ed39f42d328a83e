/* Sums of squares by groups: the same bits whoever adds which part. */
#include "base/rng.h"
#include "check_main.h"
#include "par/squares.h"

#include <math.h>
#include <stdlib.h>

enum { N = 3 * SHARD_BLOCK + 77, N_PARTS = 5, N_GROUPS = 3 };

/* Blocks are summed in double, the twin too: rounding of a few thousand additions. */
static const double TOLERANCE = 1e-13;

static const struct squares_of part[N_PARTS] = {{10, 0, 0},
                                                {SHARD_BLOCK, 1, 0},
                                                {SHARD_BLOCK + 5, 0, 0},
                                                {2 * SHARD_BLOCK + 9, 2, SHARD_BLOCK + 5},
                                                {N, 1, 2 * SHARD_BLOCK + 9}};
static const struct squares by = {.part = part, .n_parts = N_PARTS, .n_groups = N_GROUPS};

static float *values(void)
{
    float *x = malloc(N * sizeof *x);
    for (size_t i = 0; i < N; i++)
        x[i] = (float)rng_normal(3, 1, i);
    return x;
}

static void sum_in_pieces(struct exactsum sum[N_GROUPS], const float *x, const size_t *cut, int n)
{
    for (int i = 0; i < N_GROUPS; i++)
        exactsum_clear(&sum[i]);
    for (int i = n - 1; i >= 0; i--)
        squares_add(&by, sum, x + cut[i], cut[i], cut[i + 1] - cut[i]);
}

START_TEST(groups_have_their_own_squares)
{
    float *x = values();
    const size_t whole[] = {0, N};
    struct exactsum sum[N_GROUPS];
    double want[N_GROUPS] = {0};
    int p = 0;
    for (size_t i = 0; i < N; i++) {
        p += i == part[p].end;
        want[part[p].group] += (double)x[i] * (double)x[i];
    }
    sum_in_pieces(sum, x, whole, 1);
    for (int g = 0; g < N_GROUPS; g++)
        ck_assert_double_eq_tol(exactsum_value(&sum[g]), want[g], TOLERANCE * want[g]);
    free(x);
}
END_TEST

START_TEST(the_cut_changes_no_bit)
{
    float *x = values();
    const size_t whole[] = {0, N}, blocks[] = {0, SHARD_BLOCK, 3 * SHARD_BLOCK, N};
    const size_t tensors[] = {0, 10, SHARD_BLOCK + 5, 2 * SHARD_BLOCK + 9, N};
    const size_t units[] = {0, 2 * SHARD_BLOCK + 5, 3 * SHARD_BLOCK + 9, N}; /* of two zones */
    struct exactsum a[N_GROUPS], b[N_GROUPS], c[N_GROUPS], d[N_GROUPS];
    sum_in_pieces(a, x, whole, 1);
    sum_in_pieces(b, x, blocks, 3);
    sum_in_pieces(c, x, tensors, 4);
    sum_in_pieces(d, x, units, 3);
    for (int g = 0; g < N_GROUPS; g++) {
        ck_assert(exactsum_value(&a[g]) == exactsum_value(&b[g]));
        ck_assert(exactsum_value(&a[g]) == exactsum_value(&c[g]));
        ck_assert(exactsum_value(&a[g]) == exactsum_value(&d[g]));
    }
    free(x);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, groups_have_their_own_squares);
    tcase_add_test(t, the_cut_changes_no_bit);
}

int main(void)
{
    return run_suite("par/squares", add);
}
