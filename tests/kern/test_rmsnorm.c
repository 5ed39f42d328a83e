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
#define GAP 77.0f /* what stands between rows */

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
    rmsnorm_fwd(s.y, F32, s.ld, s.rstd, s.x, s.ld, s.w, n, d, EPS);
    NEAR(s.y, s.ld, s.y64, n, d, FWD_TOLERANCE);
    NEAR(s.rstd, 1, s.rstd64, n, 1, FWD_TOLERANCE);
    float *y = ref_floats(n * s.ld);
    memcpy(y, s.x, n * s.ld * sizeof *y);
    rmsnorm_fwd(y, F32, s.ld, NULL, y, s.ld, s.w, n, d, EPS); /* in place; gaps stay as in x */
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
    rmsnorm_fwd(s.y, F32, s.ld, s.rstd, s.x, s.ld, s.w, n, d, EPS);
    float *dx = same ? s.dy : s.dx;
    rmsnorm_bwd(dx, F32, s.ld, s.dw, s.dy, s.ld, s.x, s.ld, s.rstd, s.w, n, d, add);
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

/* Where got[n] in type t is not want rounded to it, or gaps of rows were written to. */
static void check_typed(const void *got, enum dtype t, size_t ld, const float *want, size_t n,
                        size_t d)
{
    float *expect = ref_floats(n * ld);
    for (size_t i = 0; i < n * ld; i++)
        expect[i] = i % ld < d ? want[i / ld * d + i % ld] : GAP;
    void *typed = ref_typed(expect, t, n * ld);
    ck_assert(memcmp(got, typed, n * ld * dtype_size(t)) == 0);
    free(expect), free(typed);
}

/* n rows of a type, whose every element is GAP. */
static void *gaps(enum dtype t, size_t n, size_t ld)
{
    float *x = ref_floats(n * ld);
    for (size_t i = 0; i < n * ld; i++)
        x[i] = GAP;
    void *y = ref_typed(x, t, n * ld);
    free(x);
    return y;
}

/* Other types round what the float kernel says, and rows may lie further apart. */
START_TEST(outputs_have_types_and_gaps)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int type = F32; type <= BF16; type++) {
            enum dtype t = (enum dtype)type;
            size_t n = 3, d = ref_sizes[i], ld = d + 5;
            struct set s = set_new(n, d);
            float *y = ref_floats(n * d), *dx = ref_floats(n * d), *dw = ref_floats(d);
            void *yt = gaps(t, n, ld), *dxt = gaps(t, n, ld);
            rmsnorm_fwd(y, F32, d, s.rstd, s.x, s.ld, s.w, n, d, EPS);
            rmsnorm_fwd(yt, t, ld, NULL, s.x, s.ld, s.w, n, d, EPS);
            check_typed(yt, t, ld, y, n, d);
            memcpy(dw, s.dw, d * sizeof *dw);
            rmsnorm_bwd(dx, F32, d, s.dw, s.dy, s.ld, s.x, s.ld, s.rstd, s.w, n, d, 0);
            rmsnorm_bwd(dxt, t, ld, dw, s.dy, s.ld, s.x, s.ld, s.rstd, s.w, n, d, 0);
            check_typed(dxt, t, ld, dx, n, d);
            ck_assert(memcmp(dw, s.dw, d * sizeof *dw) == 0);
            free(y), free(dx), free(dw), free(yt), free(dxt);
            set_free(&s);
        }
}
END_TEST

/* Arrays around a residual sum, dense; the twins' values beside them. */
struct sums {
    size_t n, d;
    float *res, *branch, *wb, *wn, *out, *y, *rb, *ro, *dx, *dy, *dbranch, *dwb, *dwn;
    double *out64, *y64, *dx64, *dbranch64, *dwb64, *dwn64;
};

static struct sums sums_new(size_t n, size_t d)
{
    struct sums s = {.n = n, .d = d};
    s.res = ref_random(n * d, 1, 3.0), s.branch = ref_random(n * d, 2, 2.0);
    s.wb = ref_random(d, 3, 0.5), s.wn = ref_random(d, 4, 0.5);
    s.dx = ref_random(n * d, 5, 1.0), s.dy = ref_random(n * d, 6, 1.0);
    s.dwb = ref_random(d, 7, 1.0), s.dwn = ref_random(d, 8, 1.0);
    s.out = ref_floats(n * d), s.y = ref_floats(n * d), s.dbranch = ref_floats(n * d);
    s.rb = ref_random(n, 9, 1.0), s.ro = ref_random(n, 10, 1.0);
    s.out64 = ref_widen(s.res, n * d), s.y64 = ref_doubles(n * d);
    s.dx64 = ref_widen(s.dx, n * d), s.dbranch64 = ref_doubles(n * d);
    s.dwb64 = ref_widen(s.dwb, d), s.dwn64 = ref_widen(s.dwn, d);
    return s;
}

static void sums_free(struct sums *s)
{
    free(s->res), free(s->branch), free(s->wb), free(s->wn), free(s->out), free(s->y);
    free(s->rb), free(s->ro), free(s->dx), free(s->dy), free(s->dbranch), free(s->dwb);
    free(s->dwn), free(s->out64), free(s->y64), free(s->dx64), free(s->dbranch64);
    free(s->dwb64), free(s->dwn64);
}

/* The same from the plain twins, one after the other. */
static void sums_twin(struct sums *s, bool post, bool next)
{
    size_t n = s->n, d = s->d;
    double *branch = ref_widen(s->branch, n * d), *wb = ref_widen(s->wb, d);
    double *wn = ref_widen(s->wn, d), *dy = ref_widen(s->dy, n * d);
    double *tmp = ref_doubles(n * d), *rstd = ref_doubles(n);
    if (post)
        ref_rmsnorm_fwd(tmp, rstd, branch, wb, n, d, (double)EPS);
    for (size_t i = 0; i < n * d; i++)
        s->out64[i] += post ? tmp[i] : branch[i];
    if (next) {
        ref_rmsnorm_fwd(s->y64, rstd, s->out64, wn, n, d, (double)EPS);
        ref_rmsnorm_bwd(tmp, s->dwn64, dy, s->out64, wn, n, d, (double)EPS);
        for (size_t i = 0; i < n * d; i++)
            s->dx64[i] += tmp[i];
    }
    if (post)
        ref_rmsnorm_bwd(s->dbranch64, s->dwb64, s->dx64, branch, wb, n, d, (double)EPS);
    else
        memcpy(s->dbranch64, s->dx64, n * d * sizeof *tmp);
    free(branch), free(wb), free(wn), free(dy), free(tmp), free(rstd);
}

static void residual_fwd(struct sums *s, float *out, const float *res, void *y, enum dtype t,
                         size_t ld, bool post, bool next)
{
    rmsnorm_residual_fwd(out, y, t, ld, s->rb, s->ro, res, s->branch, post ? s->wb : NULL,
                         next ? s->wn : NULL, s->n, s->d, EPS);
}

static void residual_bwd(struct sums *s, float *dx, void *dbranch, enum dtype t, size_t ld,
                         const float *dy, bool post, bool next)
{
    rmsnorm_residual_bwd(dx, dbranch, t, ld, s->dwn, s->dwb, dy, s->out, s->ro, next ? s->wn : NULL,
                         s->branch, s->rb, post ? s->wb : NULL, s->n, s->d);
}

static void compare_residual(size_t n, size_t d, bool post, bool next)
{
    struct sums s = sums_new(n, d);
    float rb0 = s.rb[0], ro0 = s.ro[0], *dwn = ref_random(d, 8, 1.0), *dwb = ref_random(d, 7, 1.0);
    sums_twin(&s, post, next);
    residual_fwd(&s, s.out, s.res, s.y, F32, d, post, next);
    NEAR(s.out, d, s.out64, n, d, FWD_TOLERANCE);
    NEAR(s.y, d, s.y64, n, d, FWD_TOLERANCE);
    ck_assert((s.rb[0] != rb0) == post && (s.ro[0] != ro0) == next);
    float *in_place = ref_floats(n * d);
    memcpy(in_place, s.res, n * d * sizeof *in_place);
    residual_fwd(&s, in_place, in_place, s.y, F32, d, post, next);
    ck_assert(memcmp(in_place, s.out, n * d * sizeof *in_place) == 0);
    residual_bwd(&s, s.dx, s.dbranch, F32, d, s.dy, post, next);
    if (d > 2) { /* for smaller d gradients all but cancel */
        NEAR(s.dx, d, s.dx64, n, d, BWD_TOLERANCE);
        NEAR(s.dbranch, d, s.dbranch64, n, d, BWD_TOLERANCE);
        NEAR(s.dwn, d, s.dwn64, 1, d, BWD_TOLERANCE);
        NEAR(s.dwb, d, s.dwb64, 1, d, BWD_TOLERANCE);
    }
    ck_assert(post || memcmp(s.dwb, dwb, d * sizeof *dwb) == 0);
    ck_assert(next || memcmp(s.dwn, dwn, d * sizeof *dwn) == 0);
    free(in_place), free(dwn), free(dwb);
    sums_free(&s);
}

START_TEST(residual_follows_the_twins)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int variant = 0; variant < 4; variant++) {
            compare_residual(3, ref_sizes[i], variant & 1, variant & 2);
            compare_residual(ref_sizes[i], 40, variant & 1, variant & 2);
        }
}
END_TEST

/* Typed outputs, gaps between rows, dbranch in dy's place, and none at all. */
static void compare_residual_typed(size_t d, enum dtype t, bool post)
{
    size_t n = 5, ld = d + 3;
    struct sums a = sums_new(n, d), b = sums_new(n, d);
    void *y = gaps(t, n, ld), *dbranch = gaps(t, n, ld);
    residual_fwd(&a, a.out, a.res, a.y, F32, d, post, true);
    residual_fwd(&b, b.out, b.res, y, t, ld, post, true);
    ck_assert(memcmp(a.out, b.out, n * d * sizeof *a.out) == 0);
    check_typed(y, t, ld, a.y, n, d);
    residual_bwd(&a, a.dx, a.dbranch, F32, d, a.dy, post, true);
    residual_bwd(&b, b.dx, dbranch, t, ld, b.dy, post, true);
    ck_assert(memcmp(a.dx, b.dx, n * d * sizeof *a.dx) == 0);
    ck_assert(memcmp(a.dwb, b.dwb, d * sizeof *a.dwb) == 0);
    ck_assert(memcmp(a.dwn, b.dwn, d * sizeof *a.dwn) == 0);
    check_typed(dbranch, t, ld, a.dbranch, n, d);
    float *dx = ref_random(n * d, 5, 1.0); /* as it was before */
    residual_bwd(&b, dx, b.dy, t, d, b.dy, post, true);
    ck_assert(memcmp(a.dx, dx, n * d * sizeof *dx) == 0);
    check_typed(b.dy, t, d, a.dbranch, n, d);
    free(dx);
    dx = ref_random(n * d, 5, 1.0);
    memcpy(b.dwb, a.dwb, d * sizeof *b.dwb);
    residual_bwd(&b, dx, NULL, t, 0, a.dy, post, true);
    ck_assert(memcmp(a.dx, dx, n * d * sizeof *dx) == 0);
    ck_assert(memcmp(b.dwb, a.dwb, d * sizeof *b.dwb) == 0);
    free(dx), free(y), free(dbranch);
    sums_free(&a), sums_free(&b);
}

START_TEST(residual_has_types_and_gaps)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int variant = 0; variant < 4; variant++)
            compare_residual_typed(ref_sizes[i], variant & 1 ? BF16 : F32, variant & 2);
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
    rmsnorm_fwd(y, F32, 4, &rstd, x, 4, w, 1, 4, 16.0f);
    ck_assert_float_eq_tol(rstd, 0.2f, 1e-7f); /* 1 / sqrt(9 + 16) */
    ck_assert_float_eq_tol(y[0], 0.6f, 1e-6f);
    ck_assert_float_eq_tol(y[1], -1.2f, 1e-6f);
    ck_assert_float_eq(y[2], 0.0f);
    ck_assert_float_eq_tol(y[3], -0.9f, 1e-6f);
    memset(x, 0, sizeof x);
    rmsnorm_fwd(y, F32, 4, NULL, x, 4, w, 1, 4, EPS);
    for (int i = 0; i < 4; i++)
        ck_assert_float_eq(y[i], 0.0f);
}
END_TEST

START_TEST(does_not_depend_on_alignment)
{
    enum { N = 3, D = 77 };
    float *x = ref_random(N * D, 1, 1.0), *dy = ref_random(N * D, 2, 1.0), *w = ref_random(D, 3, 1);
    float *want = ref_floats(N * D), *dx = ref_floats(N * D), *dw = ref_floats(D), rstd[N];
    rmsnorm_fwd(want, F32, D, rstd, x, D, w, N, D, EPS);
    rmsnorm_bwd(dx, F32, D, dw, dy, D, x, D, rstd, w, N, D, 0);
    for (size_t at = 1; at < 16; at++) {
        float *x2 = ref_floats(N * D + at), *y2 = ref_floats(N * D + at), *dw2 = ref_floats(D + at);
        memcpy(x2 + at, x, N * D * sizeof *x);
        rmsnorm_fwd(y2 + at, F32, D, rstd, x2 + at, D, w, N, D, EPS);
        ck_assert(memcmp(y2 + at, want, N * D * sizeof *x) == 0);
        rmsnorm_bwd(y2 + at, F32, D, dw2 + at, dy, D, x2 + at, D, rstd, w, N, D, 0);
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
    tcase_add_test(t, outputs_have_types_and_gaps);
    tcase_add_test(t, residual_follows_the_twins);
    tcase_add_test(t, residual_has_types_and_gaps);
    tcase_add_test(t, weight_and_eps_count);
    tcase_add_test(t, does_not_depend_on_alignment);
}

int main(void)
{
    return run_suite("kern/rmsnorm", add);
}
