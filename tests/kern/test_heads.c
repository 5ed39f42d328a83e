/* Norms, rotation and copy of a position's heads against the twins of norm and rotation, over
 * shapes, types and gaps between rows. */
#include "check_main.h"
#include "kern/heads.h"
#include "kern/rope.h"
#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* A norm's few roundings, angles rounded to float, two products and a sum. */
#define FWD_TOLERANCE 1e-6
/* As above, and sums over up to 514 heads. */
#define BWD_TOLERANCE 4e-6
#define DIFFERENCE    1e-3
#define EPS           1e-5f
#define GAP           77.0f /* what stands between rows */

enum { PAD = 5 };
static const double BASE = 10000.0, FACTOR = 8.0;

/* Rows are ld apart in the kernel's arrays, dense (n = heads' elements of a row) in the twin's. */
struct set {
    struct heads_shape s;
    bool norm;
    size_t N, n, ld, heads;
    float *raw, *qkv, *dqkv, *draw, *rstd, *wq, *wk, *dwq, *dwk, *table;
    double *raw64, *qkv64, *dqkv64, *draw64, *wq64, *wk64, *dwq64, *dwk64;
};

static double *dense(const float *x, size_t n, size_t d, size_t ld)
{
    double *y = ref_doubles(n * d);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            y[i * d + j] = x[i * ld + j];
    return y;
}

static float *gaps(size_t n)
{
    float *x = ref_floats(n);
    for (size_t i = 0; i < n; i++)
        x[i] = GAP;
    return x;
}

static struct set set_new(struct heads_shape s, bool norm)
{
    struct set t = {.s = s, .norm = norm, .N = s.B * s.T, .heads = s.H + s.K};
    t.s.eps = EPS;
    t.n = (s.H + 2 * s.K) * s.Hd;
    t.ld = t.n + PAD;
    t.raw = ref_random(t.N * t.ld, 1, 2.0), t.dqkv = ref_random(t.N * t.ld, 2, 1.0);
    t.qkv = gaps(t.N * t.ld), t.draw = gaps(t.N * t.ld);
    t.rstd = ref_floats(t.N * t.heads);
    t.wq = ref_random(s.Hd, 3, 0.5), t.wk = ref_random(s.Hd, 4, 0.5);
    t.dwq = ref_random(s.Hd, 5, 1.0), t.dwk = ref_random(s.Hd, 6, 1.0);
    t.table = ref_floats((s.first + s.T) * s.Hd);
    rope_table(t.table, s.first + s.T, s.Hd, BASE, FACTOR);
    t.raw64 = dense(t.raw, t.N, t.n, t.ld), t.dqkv64 = dense(t.dqkv, t.N, t.n, t.ld);
    t.qkv64 = ref_doubles(t.N * t.n), t.draw64 = ref_doubles(t.N * t.n);
    t.wq64 = ref_widen(t.wq, s.Hd), t.wk64 = ref_widen(t.wk, s.Hd);
    t.dwq64 = ref_widen(t.dwq, s.Hd), t.dwk64 = ref_widen(t.dwk, s.Hd);
    return t;
}

static void set_free(struct set *t)
{
    free(t->raw), free(t->qkv), free(t->dqkv), free(t->draw), free(t->rstd), free(t->wq);
    free(t->wk), free(t->dwq), free(t->dwk), free(t->table), free(t->raw64), free(t->qkv64);
    free(t->dqkv64), free(t->draw64), free(t->wq64), free(t->wk64), free(t->dwq64);
    free(t->dwk64);
}

/* Heads of all rows as the rotation's twin wants them: [N, heads·Hd]; and back. */
static double *gather(const struct set *t, const double *x)
{
    double *y = ref_doubles(t->N * t->heads * t->s.Hd);
    for (size_t i = 0; i < t->N; i++)
        memcpy(y + i * t->heads * t->s.Hd, x + i * t->n, t->heads * t->s.Hd * sizeof *y);
    return y;
}

static void scatter(const struct set *t, double *x, double *y)
{
    for (size_t i = 0; i < t->N; i++)
        memcpy(x + i * t->n, y + i * t->heads * t->s.Hd, t->heads * t->s.Hd * sizeof *x);
    free(y);
}

/* In place: the heads of x[N, n] turned; direction -1: back. */
static void twin_turn(const struct set *t, double *x, int direction)
{
    double *y = gather(t, x);
    ref_rope(y, t->s.B, t->s.T, t->s.first, t->heads, t->s.Hd, BASE, FACTOR, direction);
    scatter(t, x, y);
}

static void twin_fwd(struct set *t, const double *raw)
{
    memcpy(t->qkv64, raw, t->N * t->n * sizeof *raw);
    for (size_t i = 0; t->norm && i < t->N; i++)
        for (size_t h = 0; h < t->heads; h++) {
            size_t at = i * t->n + h * t->s.Hd;
            double rstd;
            ref_rmsnorm_fwd(t->qkv64 + at, &rstd, raw + at, h < t->s.H ? t->wq64 : t->wk64, 1,
                            t->s.Hd, (double)EPS);
        }
    twin_turn(t, t->qkv64, 1);
}

static void twin_bwd(struct set *t)
{
    double *dy = ref_doubles(t->N * t->n);
    memcpy(dy, t->dqkv64, t->N * t->n * sizeof *dy);
    twin_turn(t, dy, -1);
    memcpy(t->draw64, dy, t->N * t->n * sizeof *dy);
    for (size_t i = 0; t->norm && i < t->N; i++)
        for (size_t h = 0; h < t->heads; h++) {
            size_t at = i * t->n + h * t->s.Hd;
            bool q = h < t->s.H;
            ref_rmsnorm_bwd(t->draw64 + at, q ? t->dwq64 : t->dwk64, dy + at, t->raw64 + at,
                            q ? t->wq64 : t->wk64, 1, t->s.Hd, (double)EPS);
        }
    free(dy);
}

static void fwd(struct set *t, float *qkv, size_t ld, const float *raw)
{
    heads_fwd(qkv, ld, t->norm ? t->rstd : NULL, raw, t->ld, t->norm ? t->wq : NULL,
              t->norm ? t->wk : NULL, t->table, &t->s);
}

static void bwd(struct set *t, void *draw, enum dtype type, size_t ld)
{
    heads_bwd(draw, type, ld, t->dwq, t->dwk, t->dqkv, t->ld, t->norm ? t->raw : NULL, t->ld,
              t->norm ? t->rstd : NULL, t->norm ? t->wq : NULL, t->norm ? t->wk : NULL, t->table,
              &t->s);
}

static void check_gaps(const struct set *t, const float *x)
{
    for (size_t i = 0; i < t->N * t->ld; i++)
        ck_assert(i % t->ld < t->n || x[i] == GAP);
}

#define NEAR(t, got, ld_, want, n_, d_, tolerance)                                                 \
    do {                                                                                           \
        double off_ = ref_distance_rows(got, ld_, want, n_, d_);                                   \
        ck_assert_msg(off_ < (tolerance), "%s, B %zu T %zu H %zu K %zu Hd %zu norm %d: %g", #got,  \
                      (t).s.B, (t).s.T, (t).s.H, (t).s.K, (t).s.Hd, (t).norm, off_);               \
    } while (0)

static void compare(struct heads_shape s, bool norm)
{
    struct set t = set_new(s, norm);
    float *dwq = ref_random(s.Hd, 5, 1.0);
    twin_fwd(&t, t.raw64);
    twin_bwd(&t);
    fwd(&t, t.qkv, t.ld, t.raw);
    NEAR(t, t.qkv, t.ld, t.qkv64, t.N, t.n, FWD_TOLERANCE);
    check_gaps(&t, t.qkv);
    bwd(&t, t.draw, F32, t.ld);
    check_gaps(&t, t.draw);
    if (!norm || s.Hd > 2) { /* two elements' gradient all but cancels */
        NEAR(t, t.draw, t.ld, t.draw64, t.N, t.n, BWD_TOLERANCE);
        NEAR(t, t.dwq, s.Hd, t.dwq64, 1, s.Hd, BWD_TOLERANCE);
        NEAR(t, t.dwk, s.Hd, t.dwk64, 1, s.Hd, BWD_TOLERANCE);
    }
    ck_assert(norm == (memcmp(dwq, t.dwq, s.Hd * sizeof *dwq) != 0));
    free(dwq);
    set_free(&t);
}

static struct heads_shape shape(size_t B, size_t T, size_t first, size_t H, size_t K, size_t Hd)
{
    return (struct heads_shape){.B = B, .T = T, .first = first, .H = H, .K = K, .Hd = Hd};
}

START_TEST(follows_the_twins)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int norm = 0; norm < 2; norm++) {
            compare(shape(1, 5, 0, 2, 1, 2 * ref_sizes[i]), norm);
            compare(shape(2, ref_sizes[i], 11, 1, 1, 6), norm);
            compare(shape(1, 2, 3, ref_sizes[i], 2, 4), norm);
        }
}
END_TEST

/* Other types round what the float kernel says; the weights' gradients are the same bits. In place
 * where the header allows it. */
static void compare_types(size_t Hd, bool norm)
{
    struct set a = set_new(shape(2, 3, 1, 3, 2, Hd), norm);
    struct set b = set_new(a.s, norm);
    size_t n = a.N * a.ld;
    fwd(&a, a.qkv, a.ld, a.raw);
    fwd(&b, b.qkv, b.ld, b.raw);
    bwd(&a, a.draw, F32, a.ld);
    float *empty = gaps(n);
    void *draw = ref_typed(empty, BF16, n), *want = ref_typed(a.draw, BF16, n);
    bwd(&b, draw, BF16, b.ld);
    ck_assert(memcmp(draw, want, n * dtype_size(BF16)) == 0);
    ck_assert(memcmp(a.dwq, b.dwq, Hd * sizeof *a.dwq) == 0);
    ck_assert(memcmp(a.dwk, b.dwk, Hd * sizeof *a.dwk) == 0);
    bwd(&b, b.dqkv, F32, b.ld);
    for (size_t i = 0; i < a.N; i++)
        ck_assert(memcmp(a.draw + i * a.ld, b.dqkv + i * a.ld, a.n * sizeof *a.draw) == 0);
    if (!norm) {
        fwd(&b, b.raw, b.ld, b.raw);
        for (size_t i = 0; i < a.N; i++)
            ck_assert(memcmp(a.qkv + i * a.ld, b.raw + i * a.ld, a.n * sizeof *a.qkv) == 0);
    }
    free(empty), free(draw), free(want);
    set_free(&a), set_free(&b);
}

START_TEST(gradient_has_types)
{
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int norm = 0; norm < 2; norm++)
            compare_types(2 * ref_sizes[i], norm);
}
END_TEST

/* f(raw) = dqkv · heads(raw), for central differences. */
static double twin_value(const double *raw, void *context)
{
    struct set *t = context;
    double sum = 0.0;
    twin_fwd(t, raw);
    for (size_t i = 0; i < t->N * t->n; i++)
        sum += t->qkv64[i] * t->dqkv64[i];
    return sum;
}

static double twin_value_of_wq(const double *wq, void *context)
{
    struct set *t = context;
    memcpy(t->wq64, wq, t->s.Hd * sizeof *wq);
    return twin_value(t->raw64, t);
}

START_TEST(twin_has_the_right_gradient)
{
    for (int norm = 0; norm < 2; norm++) {
        struct set t = set_new(shape(2, 3, 4, 2, 1, 6), norm);
        double *raw = ref_doubles(t.N * t.n), *wq = ref_widen(t.wq, t.s.Hd);
        memcpy(raw, t.raw64, t.N * t.n * sizeof *raw);
        memset(t.dwq64, 0, t.s.Hd * sizeof *t.dwq64);
        twin_bwd(&t);
        double off = ref_grad_distance(t.draw64, raw, t.N * t.n, twin_value, &t);
        ck_assert_double_lt(off, REF_GRAD_TOLERANCE);
        if (norm)
            ck_assert_double_lt(ref_grad_distance(t.dwq64, wq, t.s.Hd, twin_value_of_wq, &t),
                                REF_GRAD_TOLERANCE);
        t.draw64[7] += 1e-6;
        off = ref_grad_distance(t.draw64, raw, t.N * t.n, twin_value, &t);
        ck_assert_double_gt(off, REF_GRAD_TOLERANCE);
        free(raw), free(wq);
        set_free(&t);
    }
}
END_TEST

/* A position, weights exchanged, or values that are touched show; so does pairing neighbours. */
START_TEST(every_argument_counts)
{
    struct set t = set_new(shape(1, 9, 2, 2, 1, 8), true);
    twin_fwd(&t, t.raw64);
    for (int variant = 0; variant < 3; variant++) {
        struct heads_shape s = t.s;
        s.first = variant == 1 ? 1 : 2;
        heads_fwd(t.qkv, t.ld, NULL, t.raw, t.ld, t.wq, variant == 2 ? t.wq : t.wk, t.table, &s);
        double off = ref_distance_rows(t.qkv, t.ld, t.qkv64, t.N, t.n);
        ck_assert((off > DIFFERENCE) == (variant > 0));
        size_t values = t.heads * t.s.Hd;
        for (size_t i = 0; i < t.N; i++)
            ck_assert(memcmp(t.qkv + i * t.ld + values, t.raw + i * t.ld + values,
                             t.s.K * t.s.Hd * sizeof *t.raw) == 0);
    }
    set_free(&t);
    float x[4] = {1, 0, 0, 0}, table[2 * 4];
    struct heads_shape one = {.B = 1, .T = 1, .first = 1, .H = 1, .K = 0, .Hd = 4};
    rope_table(table, 2, 4, 10000.0, 1.0);
    heads_fwd(x, 4, NULL, x, 4, NULL, NULL, table, &one);
    ck_assert(x[1] == 0.0f && x[3] == 0.0f && x[2] > 0.8f); /* sin 1 */
}
END_TEST

START_TEST(does_not_depend_on_alignment)
{
    struct set t = set_new(shape(1, 4, 0, 2, 1, 50), true);
    float *x = ref_floats(t.N * t.ld + 1), *y = ref_floats(t.N * t.ld + 1);
    memcpy(x + 1, t.raw, t.N * t.ld * sizeof *x);
    fwd(&t, t.qkv, t.ld, t.raw);
    fwd(&t, y + 1, t.ld, x + 1);
    for (size_t i = 0; i < t.N; i++)
        ck_assert(memcmp(y + 1 + i * t.ld, t.qkv + i * t.ld, t.n * sizeof *x) == 0);
    free(x), free(y);
    set_free(&t);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_has_the_right_gradient);
    tcase_add_test(t, follows_the_twins);
    tcase_add_test(t, gradient_has_types);
    tcase_add_test(t, every_argument_counts);
    tcase_add_test(t, does_not_depend_on_alignment);
}

int main(void)
{
    return run_suite("kern/heads", add);
}
