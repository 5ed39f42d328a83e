/* Passes over arrays, and the exponential and hyperbolic tangent that the kernels are made of. */
#include "check_main.h"
#include "kern/vec.h"
#include "ref/ref.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Measured over all floats: 0.93 and 2.6 units in the last place with fused multiply-adds. */
#ifdef __FMA__
#define EXP_ULP 1.0
#else
#define EXP_ULP 2.0
#endif
#define TANH_ULP 3.0

/* |got - want| in units of float's last place at want. */
static double ulps(float got, double want)
{
    float w = fabsf((float)want);
    return fabs((double)got - want) / (double)(nextafterf(w, INFINITY) - w);
}

START_TEST(exp_is_close)
{
    enum { N = 200003 };
    float *x = ref_floats(N), *y = ref_floats(N);
    for (size_t i = 0; i < N; i++)
        x[i] = -103.0f + 191.7f * (float)i / N; /* down to where results are denormal */
    vec_exp(y, x, N);
    for (size_t i = 0; i < N; i++)
        ck_assert_msg(ulps(y[i], exp((double)x[i])) < EXP_ULP, "exp(%.9g) = %.9g", (double)x[i],
                      (double)y[i]);
    free(x), free(y);
}
END_TEST

START_TEST(tanh_is_close)
{
    enum { N = 200003 };
    float *x = ref_floats(N), *y = ref_floats(N);
    for (size_t i = 0; i < N; i++) /* both signs, from 1e-9 to 30 */
        x[i] = powf(10.0f, -9.0f + 10.5f * (float)i / N) * (i % 2 ? 1.0f : -1.0f);
    vec_tanh(y, x, N);
    for (size_t i = 0; i < N; i++)
        ck_assert_msg(ulps(y[i], tanh((double)x[i])) < TANH_ULP, "tanh(%.9g) = %.9g", (double)x[i],
                      (double)y[i]);
    free(x), free(y);
}
END_TEST

START_TEST(extremes_are_exact)
{
    float odd_nan;
    memcpy(&odd_nan, &(uint32_t){0x7fc001ffu}, sizeof odd_nan); /* a payload in the low bits */
    const float x[] = {-INFINITY, -FLT_MAX, -104.5f, -0.0f, 0.0f,   88.73f,
                       FLT_MAX,   INFINITY, NAN,     -NAN,  odd_nan};
    float e[11], t[11];
    vec_exp(e, x, 11);
    vec_tanh(t, x, 11);
    ck_assert(e[0] == 0.0f && e[1] == 0.0f && e[2] == 0.0f && e[3] == 1.0f && e[4] == 1.0f);
    ck_assert(isinf(e[5]) && isinf(e[6]) && isinf(e[7]));
    ck_assert(t[0] == -1.0f && t[1] == -1.0f && t[2] == -1.0f && t[5] == 1.0f);
    ck_assert(t[6] == 1.0f && t[7] == 1.0f && t[4] == 0.0f && t[3] == 0.0f && signbit(t[3]));
    for (int i = 8; i < 11; i++)
        ck_assert(isnan(e[i]) && isnan(t[i]));
    const float top = 88.72283f; /* the greatest float whose exponential is finite */
    float y;
    vec_exp(&y, &top, 1);
    ck_assert(isfinite(y) && y > 3.4e38f);
}
END_TEST

/* The same bits in the middle of a vector, after the last whole one, and in place. */
START_TEST(functions_do_not_depend_on_place)
{
    enum { N = 79 };
    float *x = ref_random(N, 1, 20.0), e[N], t[N], alone;
    vec_exp(e, x, N);
    vec_tanh(t, x, N);
    for (size_t i = 0; i < N; i++) {
        vec_exp(&alone, x + i, 1);
        ck_assert(memcmp(&alone, e + i, sizeof alone) == 0);
        vec_tanh(&alone, x + i, 1);
        ck_assert(memcmp(&alone, t + i, sizeof alone) == 0);
    }
    vec_exp(x, x, N);
    ck_assert(memcmp(x, e, sizeof e) == 0);
    free(x);
}
END_TEST

START_TEST(adds_and_scales)
{
    for (size_t s = 0; s < ref_n_sizes; s++) {
        size_t n = ref_sizes[s];
        float *a = ref_random(n + 1, 1, 1.0), *b = ref_random(n + 1, 2, 1.0);
        float *y = ref_random(n + 1, 3, 1.0), *z = ref_random(n + 1, 3, 1.0), end = y[n];
        vec_sum2(y, a, b, n);
        for (size_t i = 0; i < n; i++)
            ck_assert(y[i] == a[i] + b[i]);
        memcpy(y, z, n * sizeof *y);
        vec_add(y, a, n);
        for (size_t i = 0; i < n; i++)
            ck_assert(y[i] == z[i] + a[i]);
        memcpy(y, z, n * sizeof *y);
        vec_scale(y, 1.25f, n);
        for (size_t i = 0; i < n; i++)
            ck_assert(y[i] == z[i] * 1.25f);
        ck_assert(y[n] == end);
        free(a), free(b), free(y), free(z);
    }
}
END_TEST

START_TEST(sums_squares_in_double)
{
    for (size_t s = 0; s < ref_n_sizes; s++) {
        size_t n = ref_sizes[s];
        float *x = ref_random(n + 3, 1, 1.0);
        double want = 0.0, got = vec_sumsq(x, n);
        for (size_t i = 0; i < n; i++)
            want += (double)x[i] * (double)x[i];
        ck_assert_double_lt(fabs(got - want), 1e-14 * want);
        memmove(x + 3, x, n * sizeof *x);
        ck_assert(vec_sumsq(x + 3, n) == got);
        x[n + 2] += 1e-3f; /* the last value counts */
        ck_assert(vec_sumsq(x + 3, n) != got);
        free(x);
    }
    enum { MANY = 1 << 20 };
    float *x = ref_floats(MANY);
    for (size_t i = 0; i < MANY; i++)
        x[i] = 0.1f; /* in float the sum would be off by 1e-4 and more */
    ck_assert_double_lt(fabs(vec_sumsq(x, MANY) / (MANY * (double)0.1f * (double)0.1f) - 1), 1e-11);
    ck_assert(vec_sumsq(x, 0) == 0.0);
    free(x);
}
END_TEST

START_TEST(finds_every_value_that_is_not_finite)
{
    const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
    for (size_t s = 0; s < ref_n_sizes; s++) {
        size_t n = ref_sizes[s];
        float *x = ref_random(n, 1, FLT_MAX);
        ck_assert(vec_finite(x, n));
        for (size_t i = 0; i < n; i++) {
            float was = x[i];
            x[i] = bad[i % 4];
            ck_assert(!vec_finite(x, n));
            ck_assert(vec_finite(x, i));
            x[i] = was;
        }
        free(x);
    }
    float *x = ref_floats(10000);
    x[0] = FLT_MAX, x[1] = -FLT_MAX, x[2] = FLT_MIN / 4, x[3] = -0.0f;
    ck_assert(vec_finite(x, 10000));
    x[9999] = NAN;
    ck_assert(!vec_finite(x, 10000));
    ck_assert(vec_finite(x, 0));
    free(x);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, exp_is_close);
    tcase_add_test(t, tanh_is_close);
    tcase_add_test(t, extremes_are_exact);
    tcase_add_test(t, functions_do_not_depend_on_place);
    tcase_add_test(t, adds_and_scales);
    tcase_add_test(t, sums_squares_in_double);
    tcase_add_test(t, finds_every_value_that_is_not_finite);
}

int main(void)
{
    return run_suite("kern/vec", add);
}
