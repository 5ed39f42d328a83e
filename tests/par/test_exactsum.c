/* Sums are those of exact rational arithmetic, rounded once, in any order and any grouping.
 * ranks: 1 2 3 4 */
#include "mpi_main.h"

#include "par/exactsum.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define N_OF(a) (sizeof(a) / sizeof(a)[0])

static double sum_of(const double *x, int n)
{
    struct exactsum a;
    exactsum_clear(&a);
    for (int i = 0; i < n; i++)
        exactsum_add(&a, x[i]);
    return exactsum_value(&a);
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* Sums by Python's fractions.Fraction, converted to double once. */
static const struct {
    double x[8];
    int n;
    double sum;
} exact[] = {
    {{0x1.269e0f2a74de4p+1, -0x1.d23f0128b2f33p+3, -0x1.953195d9dc9f8p-5, -0x1.1600a099950d8p+1,
      0x1.3d9c111e20b8fp-4, 0x1.d3ac90f21ddb6p+4},
     6,
     0x1.da2782ec231c9p+3},
    {{-0x1.39263f28c105dp+296, -0x1.95e6093bd04cfp+106, -0x1.3898df9ebdaccp-253,
      -0x1.6b4cb4a23d596p-153, -0x1.4ef8a92276658p+273, -0x1.94e3b1a61dbe2p+284},
     6,
     -0x1.393f9001ccb9fp+296},
    {{-0x1.18f135f557203p+970, -0x1.0f420907a70c3p+979, -0x1.ae2eb7f150524p+968,
      0x1.18f135f557203p+970, 0x1.0f420907a70c3p+979, 0x1.ae2eb7f150524p+968,
      0x1.506bfc6f87718p-941},
     7,
     0x1.506bfc6f87718p-941},
    {{0x0.0000000000001p-1022, 0x0.0000000000001p-1022, 0x0.0000000000001p-1022,
      0x1.0000000000000p-1022},
     4,
     0x1.0000000000003p-1022},
    {{0x1.0000000000000p-1022, -0x0.0000000000001p-1022}, 2, 0x0.fffffffffffffp-1022},
    {{0x1.4cbd85c90a958p-9, -0x1.c7a2eb2f14c94p-9, -0x1.4cdd2930d6eafp+27, 0x1.57ee0e00902c7p+17,
      0x1.faecb9be4bcfcp-31, 0x1.4c872dad5e753p+27},
     6,
     -0x1.5774ae998da18p-26},
    {{0x1.fffffffffffffp+1023, 0x1.fffffffffffffp+1023, -0x1.fffffffffffffp+1023,
      0x1.0000000000000p-1000},
     4,
     0x1.fffffffffffffp+1023},
    {{-0x0.0000000005ac3p-1022, 0x0.0000f77561374p-1022, 0x0.07d91b82825f2p-1022,
      -0x0.0018ede0c3bafp-1022, 0x0.0000006c7fb96p-1022, 0x0.000039802328fp-1022},
     6,
     0x0.07c15f03bd119p-1022},
    /* Ties to even: half an ulp of 1, then of the odd neighbour; and what breaks a tie. */
    {{1, 0x1p-53}, 2, 1},
    {{0x1.0000000000001p+0, 0x1p-53}, 2, 0x1.0000000000002p+0},
    {{1, 0x1p-53, 0x1p-1074}, 3, 0x1.0000000000001p+0},
    {{1, 0x1p-53, -0x1p-1074}, 3, 1},
    {{-1, -0x1p-53, -0x1p-1074}, 3, -0x1.0000000000001p+0},
    {{0x1.fffffffffffffp+0, 0x1p-53}, 2, 2},
    {{1e308, 1, -1e308}, 3, 1},
    {{0x1p-1074, 0x1p-1074}, 2, 0x1p-1073},
    {{0, -0.0}, 2, 0},
    {{3, -3}, 2, 0},
};

START_TEST(sums_are_rounded_once)
{
    for (size_t i = 0; i < N_OF(exact); i++) {
        double got = sum_of(exact[i].x, exact[i].n), minus[8];
        ck_assert_msg(same_bits(got, exact[i].sum), "case %zu: %a, not %a", i, got, exact[i].sum);
        for (int j = 0; j < exact[i].n; j++)
            minus[j] = -exact[i].x[j];
        got = sum_of(minus, exact[i].n);
        ck_assert_msg(got == -exact[i].sum, "case -%zu: %a, not %a", i, got, -exact[i].sum);
    }
}
END_TEST

START_TEST(every_double_is_its_own_sum)
{
    static const double x[] = {0x1p-1074, 0x1.23p-1060, DBL_MIN, DBL_MAX, -DBL_MAX, M_PI, -1e-310};
    for (size_t i = 0; i < N_OF(x); i++)
        ck_assert(same_bits(sum_of(&x[i], 1), x[i]));
    for (int e = -1074; e < 1024; e++) {
        double p = ldexp(1, e);
        ck_assert(same_bits(sum_of(&p, 1), p));
    }
}
END_TEST

START_TEST(what_is_too_large_is_infinite)
{
    static const double x[] = {DBL_MAX, DBL_MAX, 0x1p970, 0x1p969};
    ck_assert(same_bits(sum_of(x, 2), INFINITY));
    /* Half an ulp above the greatest double rounds up, less does not. */
    ck_assert(same_bits(sum_of(x + 1, 2), INFINITY));
    static const double below[] = {DBL_MAX, 0x1p969};
    ck_assert(same_bits(sum_of(below, 2), DBL_MAX));
}
END_TEST

START_TEST(nan_and_infinities_are_kept)
{
    static const double x[] = {1, INFINITY, -INFINITY, NAN};
    ck_assert(sum_of(x, 2) == INFINITY);
    ck_assert(sum_of(x + 2, 1) == -INFINITY);
    ck_assert(isnan(sum_of(x, 3)));
    ck_assert(isnan(sum_of(x + 3, 1)));
}
END_TEST

enum { N_RANDOM = 2000 };

/* Magnitudes over 120 binary orders, so that plain summation depends on order. */
static void fill(double *x, int n, unsigned seed)
{
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        double mantissa = (double)(int)(seed ^ i * 2654435761u);
        x[i] = ldexp(mantissa, (int)(seed >> 8) % 120 - 60);
    }
}

static void swap(double *a, double *b)
{
    double t = *a;
    *a = *b;
    *b = t;
}

START_TEST(order_does_not_matter)
{
    double x[N_RANDOM], plain = 0, first_plain = 0;
    fill(x, N_RANDOM, 1);
    double first = sum_of(x, N_RANDOM);
    bool plain_differs = false;
    for (unsigned round = 0; round < 20; round++) {
        plain = 0;
        for (int i = 0; i < N_RANDOM; i++)
            plain += x[i];
        if (round == 0)
            first_plain = plain;
        plain_differs = plain_differs || plain != first_plain;
        ck_assert(same_bits(sum_of(x, N_RANDOM), first));
        for (unsigned i = N_RANDOM - 1; i > 0; i--)
            swap(&x[i], &x[(i * 2654435761u + round * 40503u) % (i + 1)]);
    }
    /* Otherwise these numbers would prove nothing. */
    ck_assert(plain_differs);
}
END_TEST

/* Integers that fit 128 bits give an independent exact sum. */
START_TEST(sums_of_integers_are_exact)
{
    struct exactsum a;
    __int128 want = 0;
    exactsum_clear(&a);
    unsigned long long seed = 99;
    for (int i = 0; i < 100000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        long long v = (long long)seed >> (i % 11);
        double x = (double)v * 0x1p20;
        exactsum_add(&a, x);
        want += (__int128)x;
    }
    ck_assert(same_bits(exactsum_value(&a), (double)want));
}
END_TEST

START_TEST(many_equal_additions_carry)
{
    struct exactsum a, b;
    exactsum_clear(&a);
    /* Doubling by merging: 2^40 terms, more than may wait between two carries. */
    exactsum_add(&a, -0x1.fffffffffffffp+500);
    for (int i = 0; i < 40; i++) {
        b = a;
        exactsum_merge(&a, &b);
    }
    ck_assert(same_bits(exactsum_value(&a), -0x1.fffffffffffffp+540));
    for (int i = 0; i < EXACT_LIMBS; i++)
        ck_assert(llabs(a.limb[i]) <= (int64_t)1 << 62);
}
END_TEST

/* Adds over the ranks as the step's packed reduction does. */
static double sum_over_ranks(const struct exactsum *mine)
{
    int64_t packed[EXACT_LIMBS + 1];
    struct exactsum all;
    exactsum_pack(mine, packed);
    for (int i = 0; i + 1 < EXACT_LIMBS; i++)
        ck_assert(packed[i] >= 0 && packed[i] < (int64_t)1 << 32);
    MPI_Allreduce(MPI_IN_PLACE, packed, EXACT_LIMBS + 1, MPI_INT64_T, MPI_SUM, ck_world.world);
    exactsum_unpack(&all, packed);
    return exactsum_value(&all);
}

START_TEST(ranks_add_to_the_same_bits)
{
    double x[N_RANDOM];
    fill(x, N_RANDOM, 5);
    struct exactsum mine;
    exactsum_clear(&mine);
    for (int i = ck_world.rank; i < N_RANDOM; i += ck_world.size)
        exactsum_add(&mine, x[i]);
    ck_all(&ck_world, same_bits(sum_over_ranks(&mine), sum_of(x, N_RANDOM)));
}
END_TEST

START_TEST(ranks_share_their_infinities)
{
    struct exactsum mine;
    exactsum_clear(&mine);
    exactsum_add(&mine, ck_world.rank == ck_world.size - 1 ? -INFINITY : 1);
    ck_all(&ck_world, sum_over_ranks(&mine) == -INFINITY);
    exactsum_add(&mine, ck_world.rank == 0 ? INFINITY : 1);
    ck_all(&ck_world, isnan(sum_over_ranks(&mine)));
    exactsum_clear(&mine);
    exactsum_add(&mine, ck_world.rank == 0 ? NAN : 1);
    ck_all(&ck_world, isnan(sum_over_ranks(&mine)));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, sums_are_rounded_once);
    tcase_add_test(t, every_double_is_its_own_sum);
    tcase_add_test(t, what_is_too_large_is_infinite);
    tcase_add_test(t, nan_and_infinities_are_kept);
    tcase_add_test(t, order_does_not_matter);
    tcase_add_test(t, sums_of_integers_are_exact);
    tcase_add_test(t, many_equal_additions_carry);
    tcase_add_test(t, ranks_add_to_the_same_bits);
    tcase_add_test(t, ranks_share_their_infinities);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "par/exactsum", add);
}
