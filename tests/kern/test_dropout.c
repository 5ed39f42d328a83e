/* The mask against a plain twin, its share, and what it must not depend on. */
#include "base/rng.h"
#include "check_main.h"
#include "kern/dropout.h"
#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* Standard deviations of a count of independent draws: once in 10^9 tests by chance. */
#define SIGMAS 6.0

/* As the header of the kernel has it: blocks of 128 values, 16 counters each. */
static bool dropped(const struct dropout *o, size_t b, size_t t, size_t T, size_t j, size_t d)
{
    uint32_t w[4];
    uint64_t blocks = (d + 127) / 128, in = j % 128;
    uint64_t counter = ((o->place * T + t) * blocks + j / 128) * 16 + in % 16;
    rng_philox(w, o->seed ^ UINT64_C(0x64726f706f757421), o->sample + b, counter);
    uint32_t half = w[in / 32] >> (in / 16 % 2 * 16) & 0xffffu;
    return half < (uint32_t)lround(o->share * 65536);
}

static void compare(const struct dropout *o, size_t B, size_t T, size_t d)
{
    float *x = ref_random(B * T * d, 5, 1.0), *y = ref_floats(B * T * d);
    float scale = (float)(65536.0 / (65536.0 - round(o->share * 65536)));
    dropout(y, x, o, B, T, d);
    for (size_t i = 0; i < B * T * d; i++) {
        bool gone = dropped(o, i / d / T, i / d % T, T, i % d, d);
        ck_assert_float_eq(y[i], gone ? 0.0f : x[i] * scale);
    }
    dropout(x, x, o, B, T, d);
    ck_assert_mem_eq(x, y, B * T * d * sizeof *x);
    free(x), free(y);
}

START_TEST(follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        compare(&(struct dropout){0.1, 7, 1000 * i, i % 5}, 2, 3, ref_sizes[i]);
    /* Counters and samples beyond 32 bits. */
    compare(&(struct dropout){0.5, UINT64_C(1) << 40, UINT64_C(5) << 33, UINT64_C(1) << 35}, 2, 5,
            300);
}
END_TEST

START_TEST(drops_its_share)
{
    enum { N = 1 << 20 };
    static const double shares[] = {0.0, 0.001, 0.1, 0.5, 0.9, 0.99};
    float *x = ref_floats(N), *y = ref_floats(N);
    for (size_t i = 0; i < N; i++)
        x[i] = 1.0f;
    for (size_t k = 0; k < sizeof shares / sizeof *shares; k++) {
        double p = round(shares[k] * 65536) / 65536, gone = 0, sum = 0;
        dropout(y, x, &(struct dropout){shares[k], 3, 9, 1}, 8, 64, N / 512);
        for (size_t i = 0; i < N; i++) {
            gone += y[i] == 0.0f;
            sum += (double)y[i];
        }
        ck_assert_double_le(fabs(gone - p * N), SIGMAS * sqrt(N * p * (1 - p)));
        /* The mean stays. */
        ck_assert_double_le(fabs(sum / N - 1), SIGMAS * sqrt(p / (1 - p) / N) + 1e-6);
    }
    free(x), free(y);
}
END_TEST

/* How a step's samples are cut into passes changes nothing; sample, place and seed do. */
START_TEST(belongs_to_the_sample)
{
    enum { T = 5, D = 130, N = T * D };
    float *x = ref_random(3 * N, 5, 1.0), *all = ref_floats(3 * N), *one = ref_floats(3 * N);
    const struct dropout o = {0.4, 11, 20, 2};
    dropout(all, x, &o, 3, T, D);
    for (size_t b = 0; b < 3; b++) {
        dropout(one, x + b * N, &(struct dropout){0.4, 11, 20 + b, 2}, 1, T, D);
        ck_assert_mem_eq(one, all + b * N, N * sizeof *one);
    }
    const struct dropout other[] = {{0.4, 12, 20, 2}, {0.4, 11, 23, 2}, {0.4, 11, 20, 3}};
    for (size_t i = 0; i < 3; i++) {
        dropout(one, x, &other[i], 3, T, D);
        ck_assert(memcmp(one, all, 3 * N * sizeof *one) != 0);
    }
    free(x), free(all), free(one);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, follows_the_twin);
    tcase_add_test(t, drops_its_share);
    tcase_add_test(t, belongs_to_the_sample);
}

int main(void)
{
    return run_suite("kern/dropout", add);
}
