/* GeGLU against its twin, in every aliasing that the header promises. */
#include "check_main.h"
#include "kern/geglu.h"
#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* An exponential, a division and a handful of products, relative to the greatest value. */
#define TOLERANCE 1e-6
/* What the erf form of GELU would differ by, at least. */
#define DIFFERENCE 1e-4
#define GAP        77.0f /* what stands between rows */

static void compare_fwd(size_t n, size_t F, double scale)
{
    float *gu = ref_random(n * 2 * F, 1, scale), *h = ref_floats(n * F);
    double *gu64 = ref_widen(gu, n * 2 * F), *h64 = ref_doubles(n * F);
    geglu_fwd(h, F32, F, gu, F32, 2 * F, n, F);
    ref_geglu_fwd(h64, gu64, n, F);
    ck_assert_msg(ref_distance(h, h64, n * F) < TOLERANCE, "n %zu F %zu: %g", n, F,
                  ref_distance(h, h64, n * F));
    free(gu), free(h), free(gu64), free(h64);
}

START_TEST(forward_follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        compare_fwd(3, ref_sizes[i], 4.0);
        compare_fwd(ref_sizes[i], 5, 0.01);
        compare_fwd(2, ref_sizes[i], 30.0);
    }
}
END_TEST

/* in_place: dgu is gu; h: 0 none, 1 its own, 2 dh's storage. */
static void compare_bwd(size_t n, size_t F, int in_place, int h)
{
    float *gu = ref_random(n * 2 * F, 1, 4.0), *dh = ref_random(n * F, 2, 1.0);
    float *fwd = ref_floats(n * F), *own_h = ref_floats(n * F), *own_dgu = ref_floats(n * 2 * F);
    double *gu64 = ref_widen(gu, n * 2 * F), *dh64 = ref_widen(dh, n * F);
    double *dgu64 = ref_doubles(n * 2 * F);
    float *dgu = in_place ? gu : own_dgu, *h_out = h == 0 ? NULL : h == 1 ? own_h : dh;
    geglu_fwd(fwd, F32, F, gu, F32, 2 * F, n, F);
    geglu_bwd(dgu, h_out, dh, F32, F, gu, F32, 2 * F, n, F);
    ref_geglu_bwd(dgu64, dh64, gu64, n, F);
    ck_assert_msg(ref_distance(dgu, dgu64, n * 2 * F) < TOLERANCE, "n %zu F %zu: %g", n, F,
                  ref_distance(dgu, dgu64, n * 2 * F));
    if (h_out) /* the forward's bits, so that a step that recomputes is the step that keeps */
        ck_assert(memcmp(h_out, fwd, n * F * sizeof *fwd) == 0);
    free(gu), free(dh), free(fwd), free(own_h), free(own_dgu);
    free(gu64), free(dh64), free(dgu64);
}

START_TEST(backward_follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int variant = 0; variant < 6; variant++) {
            compare_bwd(3, ref_sizes[i], variant % 2, variant / 2);
            compare_bwd(ref_sizes[i], 9, variant % 2, variant / 2);
        }
}
END_TEST

/* n values in rows of d, ld apart, in a type; GAP between them. */
static void *spread(const float *x, enum dtype t, size_t n, size_t d, size_t ld)
{
    float *y = ref_floats(n * ld);
    for (size_t i = 0; i < n * ld; i++)
        y[i] = i % ld < d ? x[i / ld * d + i % ld] : GAP;
    void *typed = ref_typed(y, t, n * ld);
    free(y);
    return typed;
}

/* Where rows of got are not want rounded to the type, or gaps were written to. */
static void check_typed(const void *got, enum dtype t, size_t ld, const float *want, size_t n,
                        size_t d)
{
    void *expect = spread(want, t, n, d, ld);
    ck_assert(memcmp(got, expect, n * ld * dtype_size(t)) == 0);
    free(expect);
}

/* Typed arrays with gaps against the float kernel on what they hold; in place and not. */
static void compare_types(size_t F, enum dtype th, enum dtype tgu)
{
    size_t n = 3, ldh = F + 3, ldgu = 2 * F + 5;
    float *x = ref_random(n * 2 * F, 1, 4.0), *y = ref_random(n * F, 2, 1.0);
    void *rounded_x = ref_typed(x, tgu, n * 2 * F), *rounded_y = ref_typed(y, th, n * F);
    float *gu = ref_untyped(rounded_x, tgu, n * 2 * F), *dh = ref_untyped(rounded_y, th, n * F);
    float *h = ref_floats(n * F), *dgu = ref_floats(n * 2 * F);
    void *gu_t = spread(gu, tgu, n, 2 * F, ldgu), *dh_t = spread(dh, th, n, F, ldh);
    void *h_t = spread(y, th, n, F, ldh), *dgu_t = spread(x, tgu, n, 2 * F, ldgu);
    geglu_fwd(h, F32, F, gu, F32, 2 * F, n, F);
    geglu_fwd(h_t, th, ldh, gu_t, tgu, ldgu, n, F);
    check_typed(h_t, th, ldh, h, n, F);
    geglu_bwd(dgu, NULL, dh, F32, F, gu, F32, 2 * F, n, F);
    geglu_bwd(dgu_t, NULL, dh_t, th, ldh, gu_t, tgu, ldgu, n, F);
    check_typed(dgu_t, tgu, ldgu, dgu, n, 2 * F);
    geglu_bwd(gu_t, dh_t, dh_t, th, ldh, gu_t, tgu, ldgu, n, F);
    check_typed(gu_t, tgu, ldgu, dgu, n, 2 * F);
    check_typed(dh_t, th, ldh, h, n, F);
    free(x), free(y), free(rounded_x), free(rounded_y), free(gu), free(dh), free(h), free(dgu);
    free(gu_t), free(dh_t), free(h_t), free(dgu_t);
}

START_TEST(arrays_have_types_and_gaps)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int variant = 0; variant < 4; variant++)
            compare_types(ref_sizes[i], variant & 1 ? BF16 : F32, variant & 2 ? BF16 : F32);
}
END_TEST

static double twin_value(const double *gu, void *context)
{
    const double *dh = context;
    double h[2 * 9], sum = 0.0;
    ref_geglu_fwd(h, gu, 2, 9);
    for (int i = 0; i < 2 * 9; i++)
        sum += h[i] * dh[i];
    return sum;
}

START_TEST(twin_has_the_right_gradient)
{
    double *gu = ref_random_double(2 * 18, 1, 3.0), *dh = ref_random_double(2 * 9, 2, 1.0);
    double *dgu = ref_doubles(2 * 18);
    ref_geglu_bwd(dgu, dh, gu, 2, 9);
    ck_assert_double_lt(ref_grad_distance(dgu, gu, 36, twin_value, dh), REF_GRAD_TOLERANCE);
    dgu[5] += 1e-6;
    ck_assert_double_gt(ref_grad_distance(dgu, gu, 36, twin_value, dh), REF_GRAD_TOLERANCE);
    free(gu), free(dh), free(dgu);
}
END_TEST

/* The tanh form, not the erf form; and the tails go to x and to 0, never to NaN. */
START_TEST(is_the_tanh_form)
{
    float gu[2] = {2.0f, 1.0f}, h, dgu[2], one = 1.0f;
    geglu_fwd(&h, F32, 1, gu, F32, 2, 1, 1);
    ck_assert_double_lt(fabs((double)h - 1.954597694), 1e-6);
    ck_assert_double_gt(fabs((double)h - 1.954499736), DIFFERENCE / 2); /* erf */
    static const float ends[] = {-1e25f, -100.0f, -30.0f, 0.0f, -0.0f, 30.0f, 100.0f, 1e25f};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        float x = gu[0] = ends[i], small = 1e-36f * fabsf(x) + 1e-30f; /* shares end at 1e-37 */
        geglu_fwd(&h, F32, 1, gu, F32, 2, 1, 1);
        ck_assert_float_eq_tol(h, x > 0.0f ? x : 0.0f, small);
        geglu_bwd(dgu, NULL, &one, F32, 1, gu, F32, 2, 1, 1);
        ck_assert_float_eq_tol(dgu[0], x > 0.0f ? 1.0f : x < 0.0f ? 0.0f : 0.5f, 1e-30f);
    }
    gu[0] = NAN;
    geglu_fwd(&h, F32, 1, gu, F32, 2, 1, 1);
    ck_assert(isnan(h));
}
END_TEST

START_TEST(does_not_depend_on_place)
{
    enum { F = 61 };
    float *gu = ref_random(2 * F, 1, 3.0), *x = ref_floats(2 * F + 16), h[F], h2[F + 16], single[1];
    geglu_fwd(h, F32, F, gu, F32, 2 * F, 1, F);
    for (size_t at = 1; at < 16; at++) {
        memcpy(x + at, gu, 2 * F * sizeof *x);
        geglu_fwd(h2 + at, F32, F, x + at, F32, 2 * F, 1, F);
        ck_assert(memcmp(h2 + at, h, sizeof h) == 0);
    }
    for (size_t j = 0; j < F; j++) { /* alone, or among others */
        float pair[2] = {gu[j], gu[F + j]};
        geglu_fwd(single, F32, 1, pair, F32, 2, 1, 1);
        ck_assert(memcmp(single, h + j, sizeof single) == 0);
    }
    free(gu), free(x);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_has_the_right_gradient);
    tcase_add_test(t, forward_follows_the_twin);
    tcase_add_test(t, backward_follows_the_twin);
    tcase_add_test(t, arrays_have_types_and_gaps);
    tcase_add_test(t, is_the_tanh_form);
    tcase_add_test(t, does_not_depend_on_place);
}

int main(void)
{
    return run_suite("kern/geglu", add);
}
