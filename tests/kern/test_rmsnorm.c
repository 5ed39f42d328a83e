/* RMSNorm against its twin: strides, in place, added on, and in whatever place in memory. */
#include "check_main.h"
#include "kern/rmsnorm.h"
#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* A few roundings on each value, and a sum of d ≤ 1023 squares in 32 lanes. */
#define FWD_TOLERANCE 1e-6
/* As above, and sums over up to 257 rows. */
#define BWD_TOLERANCE 3e-6
#define EPS           1e-6f

enum { PAD = 3 };

/* Data for n rows, rows of x and y d + PAD apart; the twin's is dense. */
struct set {
    size_t n, d, ld;
    float *x, *y, *dy, *dx, *w, *dw, *rstd;
    double *x64, *y64, *dy64, *dx64, *w64, *dw64, *rstd64;
};

static double *dense(const float *x, size_t n, size_t d, size_t ld)
{
    double *y = ref_doubles(n * d);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            y[i * d + j] = x[i * ld + j];
    return y;
}

static struct set set_new(size_t n, size_t d)
{
    struct set s = {.n = n, .d = d, .ld = d + PAD};
    s.x = ref_random(n * s.ld, 1, 3.0), s.y = ref_random(n * s.ld, 2, 1.0);
    s.dy = ref_random(n * s.ld, 3, 1.0), s.dx = ref_random(n * s.ld, 4, 1.0);
    s.w = ref_random(d, 5, 1.0), s.dw = ref_random(d, 6, 1.0);
    s.rstd = ref_floats(n);
    s.x64 = dense(s.x, n, d, s.ld), s.dy64 = dense(s.dy, n, d, s.ld);
    s.y64 = ref_doubles(n * d), s.dx64 = ref_doubles(n * d), s.rstd64 = ref_doubles(n);
    s.w64 = ref_widen(s.w, d), s.dw64 = ref_widen(s.dw, d);
    ref_rmsnorm_fwd(s.y64, s.rstd64, s.x64, s.w64, n, d, (double)EPS);
    return s;
}

static void set_free(struct set *s)
{
    free(s->x), free(s->y), free(s->dy), free(s->dx), free(s->w), free(s->dw), free(s->rstd);
    free(s->x64), free(s->y64), free(s->dy64), free(s->dx64), free(s->w64), free(s->dw64);
    free(s->rstd64);
}

#define NEAR(got, ld_, want, n_, d_, tolerance)                                                    \
    do {                                                                                           \
        double off_ = ref_distance_rows(got, ld_, want, n_, d_);                                   \
        ck_assert_msg(off_ < (tolerance), "%s, n %zu d %zu: %g", #got, s.n, s.d, off_);            \
    } while (0)

static void compare_fwd(size_t n, size_t d)
{
    struct set s = set_new(n, d);
    rmsnorm_fwd(s.y, s.ld, s.rstd, s.x, s.ld, s.w, n, d, EPS);
    NEAR(s.y, s.ld, s.y64, n, d, FWD_TOLERANCE);
    NEAR(s.rstd, 1, s.rstd64, n, 1, FWD_TOLERANCE);
    float *y = ref_floats(n * s.ld);
    memcpy(y, s.x, n * s.ld * sizeof *y);
    rmsnorm_fwd(y, s.ld, NULL, y, s.ld, s.w, n, d, EPS); /* in place; gaps stay as in x */
    for (size_t i = 0; i < n; i++) {
        ck_assert(memcmp(y + i * s.ld, s.y + i * s.ld, d * sizeof *y) == 0);
        ck_assert(memcmp(y + i * s.ld + d, s.x + i * s.ld + d, PAD * sizeof *y) == 0);
    }
    free(y);
    set_free(&s);
}

START_TEST(forward_follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        compare_fwd(3, ref_sizes[i]);
        compare_fwd(ref_sizes[i], 40);
    }
    compare_fwd(2, 1023);
}
END_TEST

/* add: dx gets the gradient on top of what it held. same: dx is dy's own storage. */
static void compare_bwd(size_t n, size_t d, int add, int same)
{
    struct set s = set_new(n, d);
    double *held = dense(s.dx, n, d, s.ld);
    rmsnorm_fwd(s.y, s.ld, s.rstd, s.x, s.ld, s.w, n, d, EPS);
    float *dx = same ? s.dy : s.dx;
    rmsnorm_bwd(dx, s.ld, s.dw, s.dy, s.ld, s.x, s.ld, s.rstd, s.w, n, d, add);
    ref_rmsnorm_bwd(s.dx64, s.dw64, s.dy64, s.x64, s.w64, n, d, (double)EPS);
    for (size_t i = 0; add && i < n * d; i++)
        s.dx64[i] += held[i];
    if (d > 1) /* for d = 1 the gradient all but cancels */
        NEAR(dx, s.ld, s.dx64, n, d, BWD_TOLERANCE);
    NEAR(s.dw, d, s.dw64, 1, d, BWD_TOLERANCE);
    free(held);
    set_free(&s);
}

START_TEST(backward_follows_the_twin)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int variant = 0; variant < 3; variant++) {
            compare_bwd(3, ref_sizes[i], variant == 1, variant == 2);
            compare_bwd(ref_sizes[i], 40, variant == 1, variant == 2);
        }
}
END_TEST

START_TEST(adds_onto_the_residual)
{
    for (size_t i = 0; i < ref_n_sizes; i++) {
        size_t n = 5, d = ref_sizes[i];
        struct set s = set_new(n, d);
        float *x = ref_floats(n * d), *res = ref_random(n * d, 9, 1.0);
        double *want = ref_widen(res, n * d);
        for (size_t j = 0; j < n * d; j++) {
            x[j] = (float)s.x64[j];
            want[j] += s.y64[j];
        }
        rmsnorm_add_fwd(res, s.rstd, x, s.w, n, d, EPS);
        NEAR(res, d, want, n, d, FWD_TOLERANCE);
        NEAR(s.rstd, 1, s.rstd64, n, 1, FWD_TOLERANCE);
        free(x), free(res), free(want);
        set_free(&s);
    }
}
END_TEST

/* f = dy · rmsnorm(x; w) as a function of x, or of w. */
static double value_of_x(const double *x, void *context)
{
    struct set *s = context;
    double sum = 0.0;
    ref_rmsnorm_fwd(s->y64, s->rstd64, x, s->w64, s->n, s->d, (double)EPS);
    for (size_t i = 0; i < s->n * s->d; i++)
        sum += s->y64[i] * s->dy64[i];
    return sum;
}

static double value_of_w(const double *w, void *context)
{
    struct set *s = context;
    double sum = 0.0;
    ref_rmsnorm_fwd(s->y64, s->rstd64, s->x64, w, s->n, s->d, (double)EPS);
    for (size_t i = 0; i < s->n * s->d; i++)
        sum += s->y64[i] * s->dy64[i];
    return sum;
}

START_TEST(twin_has_the_right_gradient)
{
    struct set s = set_new(3, 11);
    double *x = ref_widen(s.x, 33);
    memcpy(x, s.x64, 33 * sizeof *x);
    memset(s.dw64, 0, s.d * sizeof *s.dw64);
    ref_rmsnorm_bwd(s.dx64, s.dw64, s.dy64, s.x64, s.w64, s.n, s.d, (double)EPS);
    ck_assert_double_lt(ref_grad_distance(s.dx64, x, 33, value_of_x, &s), REF_GRAD_TOLERANCE);
    double *w = ref_widen(s.w, s.d);
    ck_assert_double_lt(ref_grad_distance(s.dw64, w, s.d, value_of_w, &s), REF_GRAD_TOLERANCE);
    s.dw64[4] += 1e-6;
    ck_assert_double_gt(ref_grad_distance(s.dw64, w, s.d, value_of_w, &s), REF_GRAD_TOLERANCE);
    free(x), free(w);
    set_free(&s);
}
END_TEST

/* The weight is 1 + w, and eps keeps a row of zeros at zero. */
START_TEST(weight_and_eps_count)
{
    float x[4] = {3, -3, 3, -3}, w[4] = {0, 1, -1, 0.5f}, y[4], rstd;
    rmsnorm_fwd(y, 4, &rstd, x, 4, w, 1, 4, 16.0f);
    ck_assert_float_eq_tol(rstd, 0.2f, 1e-7f); /* 1 / sqrt(9 + 16) */
    ck_assert_float_eq_tol(y[0], 0.6f, 1e-6f);
    ck_assert_float_eq_tol(y[1], -1.2f, 1e-6f);
    ck_assert_float_eq(y[2], 0.0f);
    ck_assert_float_eq_tol(y[3], -0.9f, 1e-6f);
    memset(x, 0, sizeof x);
    rmsnorm_fwd(y, 4, NULL, x, 4, w, 1, 4, EPS);
    for (int i = 0; i < 4; i++)
        ck_assert_float_eq(y[i], 0.0f);
}
END_TEST

START_TEST(does_not_depend_on_alignment)
{
    enum { N = 3, D = 77 };
    float *x = ref_random(N * D, 1, 1.0), *dy = ref_random(N * D, 2, 1.0), *w = ref_random(D, 3, 1);
    float *want = ref_floats(N * D), *dx = ref_floats(N * D), *dw = ref_floats(D), rstd[N];
    rmsnorm_fwd(want, D, rstd, x, D, w, N, D, EPS);
    rmsnorm_bwd(dx, D, dw, dy, D, x, D, rstd, w, N, D, 0);
    for (size_t at = 1; at < 16; at++) {
        float *x2 = ref_floats(N * D + at), *y2 = ref_floats(N * D + at), *dw2 = ref_floats(D + at);
        memcpy(x2 + at, x, N * D * sizeof *x);
        rmsnorm_fwd(y2 + at, D, rstd, x2 + at, D, w, N, D, EPS);
        ck_assert(memcmp(y2 + at, want, N * D * sizeof *x) == 0);
        rmsnorm_bwd(y2 + at, D, dw2 + at, dy, D, x2 + at, D, rstd, w, N, D, 0);
        ck_assert(memcmp(y2 + at, dx, N * D * sizeof *x) == 0);
        ck_assert(memcmp(dw2 + at, dw, D * sizeof *x) == 0);
        free(x2), free(y2), free(dw2);
    }
    free(x), free(dy), free(w), free(want), free(dx), free(dw);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_has_the_right_gradient);
    tcase_add_test(t, forward_follows_the_twin);
    tcase_add_test(t, backward_follows_the_twin);
    tcase_add_test(t, adds_onto_the_residual);
    tcase_add_test(t, weight_and_eps_count);
    tcase_add_test(t, does_not_depend_on_alignment);
}

int main(void)
{
    return run_suite("kern/rmsnorm", add);
}
