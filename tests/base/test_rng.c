/* Philox against Random123's known answers; the derived distributions against their moments. */
#include "base/rng.h"
#include "check_main.h"

#include <math.h>

/* Random123, tests/kat_vectors: philox4x32 10. */
static const struct {
    uint64_t key, stream, counter;
    uint32_t want[4];
} vectors[] = {{0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
               {~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
               {0x299f31d0a4093822,
                0x0370734413198a2e,
                0x85a308d3243f6a88,
                {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};

START_TEST(known_answers)
{
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t w[4];
        rng_philox(w, vectors[i].key, vectors[i].stream, vectors[i].counter);
        for (int k = 0; k < 4; k++)
            ck_assert_uint_eq(w[k], vectors[i].want[k]);
    }
    ck_assert(rng_u64(0, 0, 0) == 0xe169c58d6627e8d5);
}
END_TEST

enum { N = 1 << 18 };

START_TEST(uniform_is_flat)
{
    static int bin[64];
    double sum = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = rng_uniform(42, 7, i);
        ck_assert(u >= 0 && u < 1);
        bin[(int)(u * 64)]++;
        sum += u;
    }
    /* Five standard errors of a mean of N, and five of each bin's count. */
    ck_assert_double_eq_tol(sum / N, 0.5, 5 * sqrt(1.0 / 12 / N));
    for (int b = 0; b < 64; b++)
        ck_assert_double_eq_tol(bin[b], N / 64, 5 * sqrt(N / 64));
}
END_TEST

START_TEST(normal_has_its_moments)
{
    double m[5] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double x = rng_normal(42, 7, i), p = 1;
        for (int k = 1; k < 5; k++)
            m[k] += (p *= x) / N;
    }
    /* The k-th power's variance: 1, 2, 15, 96. */
    ck_assert_double_eq_tol(m[1], 0, 5 * sqrt(1.0 / N));
    ck_assert_double_eq_tol(m[2], 1, 5 * sqrt(2.0 / N));
    ck_assert_double_eq_tol(m[3], 0, 5 * sqrt(15.0 / N));
    ck_assert_double_eq_tol(m[4], 3, 5 * sqrt(96.0 / N));
}
END_TEST

START_TEST(streams_and_keys_are_unrelated)
{
    double by_stream = 0, by_key = 0, by_counter = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = rng_normal(1, 1, i);
        by_stream += x * rng_normal(1, 2, i);
        by_key += x * rng_normal(2, 1, i);
        by_counter += x * rng_normal(1, 1, i + 1);
    }
    ck_assert_double_eq_tol(by_stream / N, 0, 5 / sqrt(N));
    ck_assert_double_eq_tol(by_key / N, 0, 5 / sqrt(N));
    ck_assert_double_eq_tol(by_counter / N, 0, 5 / sqrt(N));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, known_answers);
    tcase_add_test(t, uniform_is_flat);
    tcase_add_test(t, normal_has_its_moments);
    tcase_add_test(t, streams_and_keys_are_unrelated);
}

int main(void)
{
    return run_suite("base/rng", add);
}
