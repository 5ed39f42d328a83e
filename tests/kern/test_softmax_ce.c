/* The loss and its gradient against the twin: sizes, weights, caps, ties, extremes. */
#include "check_main.h"
#include "kern/softmax_ce.h"
#include "ref/ref.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Nats; logits here are below 40, where a float's rounding is 2e-6. */
#define LOSS_TOLERANCE 4e-6
/* Of each entry's probability: its exponent, up to 20, comes from a capped logit and a difference,
 * each with an error of 2e-6. The target's entry is a difference from 1. */
#define GRAD_TOLERANCE   6e-6
#define TARGET_TOLERANCE 2e-7
#define DIFFERENCE       1e-3
/* Of a row's greatest entry, which is a difference of probabilities. */
#define TERMS_TOLERANCE 1e-5
#define BF16_TOLERANCE  (0x1p-8 + TERMS_TOLERANCE)
/* Measured over all floats: 2.6 units in the last place with fused multiply-adds. */
#define TANH_ULP 3.0
#define GAP      77.0f /* what stands between rows */

struct set {
    size_t n, V;
    float cap, *logits, *weight, *loss;
    struct ce_terms also;
    int32_t *target;
    uint8_t *correct, *correct64;
    double *logits64, *weight64, *loss64, *extra64, *grad64;
};

static const struct ce_terms NO_TERMS = {0.0f, 0.0f}, TERMS = {0.1f, 0.01f};

static struct set set_new(size_t n, size_t V, float cap, double scale)
{
    struct set s = {.n = n, .V = V, .cap = cap};
    s.logits = ref_random(n * V, 1, scale);
    s.weight = ref_random(n, 2, 1.0);
    s.loss = ref_floats(n), s.loss64 = ref_doubles(n), s.extra64 = ref_doubles(n);
    s.target = ref_random_ints(n, 3, (uint32_t)V);
    s.correct = calloc(n, 1), s.correct64 = calloc(n, 1);
    for (size_t i = 0; i < n; i += 2) /* every other target is the greatest */
        s.logits[i * V + (size_t)s.target[i]] = (float)scale * 1.01f;
    s.logits64 = ref_widen(s.logits, n * V), s.weight64 = ref_widen(s.weight, n);
    s.grad64 = ref_doubles(n * V);
    return s;
}

static void set_free(struct set *s)
{
    free(s->logits), free(s->weight), free(s->loss), free(s->target), free(s->correct);
    free(s->correct64), free(s->logits64), free(s->weight64), free(s->loss64), free(s->extra64);
    free(s->grad64);
}

/* Row i's greatest error over what it may be. */
static double row_error(const struct set *s, size_t i, double weight)
{
    double worst = 0.0;
    for (size_t j = 0; j < s->V; j++) {
        size_t at = i * s->V + j;
        double th = s->cap != 0.0f ? tanh(s->logits64[at] / (double)s->cap) : 0.0;
        bool hit = j == (size_t)s->target[i];
        double p = s->grad64[at] / (weight * (1.0 - th * th)) + (hit ? 1.0 : 0.0);
        double may = fabs(weight) * (GRAD_TOLERANCE * p + (hit ? TARGET_TOLERANCE : 0.0)) + 1e-37;
        double off = fabs((double)s->logits[at] - s->grad64[at]);
        worst = fmax(worst, isnan(off) ? INFINITY : off / may);
    }
    return worst;
}

static void compare(size_t n, size_t V, float cap, double scale, bool weighted)
{
    struct set s = set_new(n, V, cap, scale);
    softmax_ce(s.loss, s.correct, s.logits, F32, V, s.logits, V, s.target,
               weighted ? s.weight : NULL, n, V, cap, NO_TERMS);
    ref_softmax_ce(s.loss64, NULL, s.correct64, s.grad64, s.logits64, s.target,
                   weighted ? s.weight64 : NULL, n, V, (double)cap, NO_TERMS);
    const char *where = "n %zu V %zu cap %g: %g";
    for (size_t i = 0; i < n; i++) {
        double off = fabs((double)s.loss[i] - s.loss64[i]);
        ck_assert_msg(off < LOSS_TOLERANCE, where, n, V, (double)cap, off);
        ck_assert_int_eq(s.correct[i], s.correct64[i]);
        off = row_error(&s, i, weighted ? s.weight64[i] : 1.0);
        ck_assert_msg(off <= 1.0, where, n, V, (double)cap, off);
    }
    set_free(&s);
}

START_TEST(follows_the_twin)
{
    static const size_t more[] = {511, 512, 513, 1024, 1537, 32768, 50257};
    for (size_t i = 0; i < ref_n_sizes; i++)
        for (int variant = 0; variant < 4; variant++)
            compare(5, ref_sizes[i], variant & 1 ? 3.0f : 0.0f, 10.0, variant & 2);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        for (int variant = 0; variant < 4; variant++)
            compare(2, more[i], variant & 1 ? 30.0f : 0.0f, 10.0, variant & 2);
    compare(2, 262144, 0.0f, 5.0, true);
    compare(1, 262144, 30.0f, 5.0, true);
    compare(1, 1048579, 0.0f, 5.0, true); /* more blocks than have their maxima kept */
}
END_TEST

/* Without the gradient: the same loss, and the logits stay. */
START_TEST(leaves_logits_alone)
{
    for (int capped = 0; capped < 2; capped++) {
        struct set s = set_new(3, 1300, capped ? 3.0f : 0.0f, 5.0);
        float *was = ref_floats(3 * 1300), loss[3];
        memcpy(was, s.logits, 3 * 1300 * sizeof *was);
        softmax_ce(loss, NULL, NULL, F32, 0, s.logits, 1300, s.target, NULL, 3, 1300, s.cap,
                   NO_TERMS);
        ck_assert(memcmp(was, s.logits, 3 * 1300 * sizeof *was) == 0);
        softmax_ce(s.loss, NULL, s.logits, F32, 1300, s.logits, 1300, s.target, NULL, 3, 1300,
                   s.cap, NO_TERMS);
        ck_assert(memcmp(loss, s.loss, sizeof loss) == 0);
        ck_assert(memcmp(was, s.logits, 3 * 1300 * sizeof *was) != 0);
        free(was);
        set_free(&s);
    }
}
END_TEST

/* Logits of a set in rows ldz apart, GAP between them. */
static float *spread(const struct set *s, size_t ldz)
{
    float *z = ref_floats(s->n * ldz);
    for (size_t i = 0; i < s->n * ldz; i++)
        z[i] = i % ldz < s->V ? s->logits[i / ldz * s->V + i % ldz] : GAP;
    return z;
}

/* Where the rows of got are not want rounded to the type. */
static void check_typed(const void *got, enum dtype t, size_t ldg, const float *want, size_t n,
                        size_t V)
{
    void *expect = ref_typed(want, t, n * V);
    for (size_t i = 0; i < n; i++)
        ck_assert(memcmp((const char *)got + i * ldg * dtype_size(t),
                         (const char *)expect + i * V * dtype_size(t), V * dtype_size(t)) == 0);
    free(expect);
}

/* What stands between rows of gradients, and behind the logits, is as it was. */
static void check_gaps(const void *got, enum dtype t, size_t ldg, size_t n, size_t V)
{
    float *x = ref_untyped(got, t, n * ldg);
    for (size_t i = 0; i < n * ldg; i++)
        ck_assert(i % ldg < V || x[i] == GAP);
    free(x);
}

/* Label smoothing and z-loss: each alone and both. The loss that is reported has neither. */
static void compare_terms(size_t V, float cap, struct ce_terms also, enum dtype t)
{
    struct set s = set_new(3, V, cap, 5.0), plain = set_new(3, V, cap, 5.0);
    double tolerance = t == BF16 ? BF16_TOLERANCE : TERMS_TOLERANCE;
    ref_softmax_ce(s.loss64, NULL, NULL, s.grad64, s.logits64, s.target, s.weight64, 3, V,
                   (double)cap, also);
    softmax_ce(s.loss, NULL, s.logits, t, t == BF16 ? 2 * V : V, s.logits, V, s.target, s.weight, 3,
               V, cap, also);
    softmax_ce(plain.loss, NULL, plain.logits, F32, V, plain.logits, V, plain.target, plain.weight,
               3, V, cap, NO_TERMS);
    ck_assert(memcmp(s.loss, plain.loss, 3 * sizeof *s.loss) == 0);
    for (size_t i = 0; i < 3; i++) {
        float *row = ref_untyped(s.logits + i * V, t, V);
        double off = ref_distance(row, s.grad64 + i * V, V);
        ck_assert_msg(off < tolerance, "V %zu cap %g row %zu: %g", V, (double)cap, i, off);
        ck_assert_double_gt(ref_distance(plain.logits + i * V, s.grad64 + i * V, V),
                            2 * TERMS_TOLERANCE);
        free(row);
    }
    set_free(&s), set_free(&plain);
}

START_TEST(has_smoothing_and_z_loss)
{
    static const size_t sizes[] = {2, 7, 33, 513, 5000};
    static const struct ce_terms terms[] = {{0.1f, 0.0f}, {0.0f, 0.01f}, {0.2f, 0.005f}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 4; variant++)
            for (size_t k = 0; k < sizeof terms / sizeof *terms; k++)
                compare_terms(sizes[i], variant & 1 ? 3.0f : 0.0f, terms[k],
                              variant & 2 ? BF16 : F32);
}
END_TEST

/* A gradient of its own, with gaps, against the one in place of dense logits. */
static void compare_apart(struct set *s, enum dtype t, const float *want, const float *loss)
{
    size_t ldz = s->V + 5, ldg = s->V + 3;
    float *z = spread(s, ldz), *gap = ref_floats(s->n * ldg);
    for (size_t i = 0; i < s->n * ldg; i++)
        gap[i] = GAP;
    void *grad = ref_typed(gap, t, s->n * ldg);
    softmax_ce(s->loss, s->correct, grad, t, ldg, z, ldz, s->target, s->weight, s->n, s->V, s->cap,
               NO_TERMS);
    check_typed(grad, t, ldg, want, s->n, s->V);
    check_gaps(grad, t, ldg, s->n, s->V);
    check_gaps(z, F32, ldz, s->n, s->V);
    ck_assert(memcmp(loss, s->loss, s->n * sizeof *loss) == 0);
    free(z), free(gap), free(grad);
}

/* In the logits' own place: rows as far apart in bytes, closer, or dense. */
static void compare_in_place(struct set *s, enum dtype t, size_t ldg, size_t ldz, const float *want)
{
    float *z = spread(s, ldz);
    softmax_ce(s->loss, NULL, z, t, ldg, z, ldz, s->target, s->weight, s->n, s->V, s->cap,
               NO_TERMS);
    check_typed(z, t, ldg, want, s->n, s->V);
    free(z);
}

START_TEST(gradient_has_types_and_places)
{
    static const size_t sizes[] = {1, 2, 7, 16, 33, 100, 511, 512, 513, 1537, 5000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 4; variant++) {
            size_t V = sizes[i], ldz = V + 5;
            enum dtype t = variant & 1 ? BF16 : F32;
            struct set s = set_new(3, V, variant & 2 ? 20.0f : 0.0f, 5.0);
            float *want = ref_floats(3 * V), loss[3];
            memcpy(want, s.logits, 3 * V * sizeof *want);
            softmax_ce(loss, NULL, want, F32, V, want, V, s.target, s.weight, 3, V, s.cap,
                       NO_TERMS);
            compare_apart(&s, t, want, loss);
            compare_in_place(&s, t, t == BF16 ? 2 * ldz : ldz, ldz, want);
            compare_in_place(&s, t, V + 1, ldz, want);
            compare_in_place(&s, t, V, V, want);
            free(want);
            set_free(&s);
        }
}
END_TEST

static double twin_value(const double *logits, void *context)
{
    struct set *s = context;
    double sum = 0.0;
    ref_softmax_ce(s->loss64, s->extra64, NULL, NULL, logits, s->target, NULL, s->n, s->V,
                   (double)s->cap, s->also);
    for (size_t i = 0; i < s->n; i++)
        sum += (s->loss64[i] + s->extra64[i]) * s->weight64[i];
    return sum;
}

START_TEST(twin_has_the_right_gradient)
{
    for (int variant = 0; variant < 4; variant++) {
        struct set s = set_new(3, 17, variant & 1 ? 2.0f : 0.0f, 3.0);
        s.also = variant & 2 ? TERMS : NO_TERMS;
        ref_softmax_ce(s.loss64, NULL, NULL, s.grad64, s.logits64, s.target, s.weight64, 3, 17,
                       (double)s.cap, s.also);
        double off = ref_grad_distance(s.grad64, s.logits64, 3 * 17, twin_value, &s);
        ck_assert_double_lt(off, REF_GRAD_TOLERANCE);
        s.grad64[2] += 1e-6;
        off = ref_grad_distance(s.grad64, s.logits64, 3 * 17, twin_value, &s);
        ck_assert_double_gt(off, REF_GRAD_TOLERANCE);
        set_free(&s);
    }
}
END_TEST

/* The lowest index of the greatest logit, wherever the blocks end. */
START_TEST(lowest_index_wins_a_tie)
{
    enum { V = 1100 };
    static const int32_t at[] = {0, 1, 31, 510, 511, 512, 513, 1023, 1024, 1099};
    enum { N = sizeof at / sizeof *at };
    float *z = ref_floats(V), loss;
    uint8_t correct;
    for (int i = 0; i < N; i++)
        for (int j = i + 1; j < N; j++)
            for (int which = 0; which < 2; which++)
                for (int grad = 0; grad < 2; grad++) {
                    memset(z, 0, V * sizeof *z);
                    z[at[i]] = z[at[j]] = 2.0f;
                    softmax_ce(&loss, &correct, grad ? z : NULL, F32, V, z, V,
                               which ? at + j : at + i, NULL, 1, V, 0.0f, NO_TERMS);
                    ck_assert_int_eq(correct, which == 0);
                }
    free(z);
}
END_TEST

START_TEST(survives_extremes)
{
    float z[600], loss;
    uint8_t correct;
    int32_t target = 599;
    for (int i = 0; i < 600; i++)
        z[i] = i < 590 ? -INFINITY : 1e4f * (float)(i - 599); /* -inf throughout the first block */
    softmax_ce(&loss, &correct, z, F32, 600, z, 600, &target, NULL, 1, 600, 0.0f, NO_TERMS);
    ck_assert(loss == 0.0f && correct == 1);
    for (int i = 0; i < 600; i++)
        ck_assert(fabsf(z[i]) < 1e-30f);
    float y[3] = {-1e4f, 3e4f, 0.0f};
    target = 0;
    softmax_ce(&loss, &correct, y, F32, 3, y, 3, &target, NULL, 1, 3, 0.0f, NO_TERMS);
    ck_assert_float_eq_tol(loss, 4e4f, 1e-2f);
    ck_assert(correct == 0 && y[0] == -1.0f && y[1] == 1.0f && fabsf(y[2]) < 1e-30f);
    const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        float x[3] = {0.0f, 1.0f, 2.0f};
        x[1] = bad[i % 2];
        softmax_ce(&loss, NULL, x, F32, 3, x, 3, &target, NULL, 1, 3, i < 2 ? 0.0f : 30.0f,
                   NO_TERMS);
        /* a cap makes infinity finite */
        ck_assert(i == 3 ? isfinite(loss) : isnan(loss) && isnan(x[0]));
    }
}
END_TEST

START_TEST(weight_zero_is_no_gradient)
{
    struct set s = set_new(2, 40, 0.0f, 5.0);
    s.weight[0] = 0.0f, s.weight[1] = 1.0f;
    softmax_ce(s.loss, NULL, s.logits, F32, 40, s.logits, 40, s.target, s.weight, 2, 40, 0.0f,
               NO_TERMS);
    ck_assert(s.loss[0] > 0.0f); /* the loss itself is not weighted */
    double sum = 0.0;
    for (size_t i = 0; i < 40; i++) {
        ck_assert(s.logits[i] == 0.0f);
        sum += (double)s.logits[40 + i];
    }
    ck_assert_double_lt(fabs(sum), 1e-6); /* a softmax's gradient sums to 0 */
    set_free(&s);
}
END_TEST

START_TEST(cap_counts)
{
    float z[4] = {-100.0f, 0.0f, 3.0f, 100.0f}, was[4];
    memcpy(was, z, sizeof z);
    softcap(z, 4, 0.0f);
    ck_assert(memcmp(z, was, sizeof z) == 0);
    softcap(z, 4, 30.0f);
    for (int i = 0; i < 4; i++)
        ck_assert_double_lt(fabs((double)z[i] - 30.0 * tanh((double)was[i] / 30.0)), 1e-5);
    struct set a = set_new(1, 50, 4.0f, 5.0), b = set_new(1, 50, 4.1f, 5.0);
    softmax_ce(a.loss, NULL, a.logits, F32, 50, a.logits, 50, a.target, NULL, 1, 50, a.cap,
               NO_TERMS);
    softmax_ce(b.loss, NULL, b.logits, F32, 50, b.logits, 50, b.target, NULL, 1, 50, b.cap,
               NO_TERMS);
    ck_assert(fabsf(a.loss[0] - b.loss[0]) > (float)DIFFERENCE);
    set_free(&a), set_free(&b);
}
END_TEST

/* |got - want| in units of float's last place at want. */
static double ulps(float got, double want)
{
    float w = fabsf((float)want);
    return fabs((double)got - want) / (double)(nextafterf(w, INFINITY) - w);
}

/* A cap of 1 is the hyperbolic tangent alone. */
START_TEST(tanh_is_close)
{
    enum { N = 200003 };
    float *x = ref_floats(N), *y = ref_floats(N);
    for (size_t i = 0; i < N; i++) /* both signs, from 1e-9 to 30 */
        x[i] = y[i] = powf(10.0f, -9.0f + 10.5f * (float)i / N) * (i % 2 ? 1.0f : -1.0f);
    softcap(y, N, 1.0f);
    for (size_t i = 0; i < N; i++)
        ck_assert_msg(ulps(y[i], tanh((double)x[i])) < TANH_ULP, "tanh(%.9g) = %.9g", (double)x[i],
                      (double)y[i]);
    free(x), free(y);
    float ends[] = {-INFINITY, -FLT_MAX, -0.0f, 0.0f, FLT_MAX, INFINITY, NAN, -NAN};
    softcap(ends, 8, 1.0f);
    ck_assert(ends[0] == -1.0f && ends[1] == -1.0f && ends[4] == 1.0f && ends[5] == 1.0f);
    ck_assert(ends[2] == 0.0f && signbit(ends[2]) && ends[3] == 0.0f && !signbit(ends[3]));
    ck_assert(isnan(ends[6]) && isnan(ends[7]));
}
END_TEST

/* The same bits in the middle of a vector and after the last whole one. */
START_TEST(tanh_does_not_depend_on_place)
{
    enum { N = 79 };
    float *x = ref_random(N, 1, 20.0), *y = ref_random(N, 1, 20.0);
    softcap(y, N, 1.0f);
    for (size_t i = 0; i < N; i++) {
        softcap(x + i, 1, 1.0f);
        ck_assert(memcmp(x + i, y + i, sizeof *x) == 0);
    }
    free(x), free(y);
}
END_TEST

START_TEST(does_not_depend_on_alignment)
{
    for (int capped = 0; capped < 2; capped++) {
        struct set s = set_new(1, 1333, capped ? 20.0f : 0.0f, 5.0);
        float *z = ref_floats(1333 + 1), loss;
        memcpy(z + 1, s.logits, 1333 * sizeof *z);
        softmax_ce(s.loss, NULL, s.logits, F32, 1333, s.logits, 1333, s.target, NULL, 1, 1333,
                   s.cap, NO_TERMS);
        softmax_ce(&loss, NULL, z + 1, F32, 1333, z + 1, 1333, s.target, NULL, 1, 1333, s.cap,
                   NO_TERMS);
        ck_assert(memcmp(z + 1, s.logits, 1333 * sizeof *z) == 0 && loss == s.loss[0]);
        free(z);
        set_free(&s);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, twin_has_the_right_gradient);
    tcase_add_test(t, follows_the_twin);
    tcase_add_test(t, has_smoothing_and_z_loss);
    tcase_add_test(t, leaves_logits_alone);
    tcase_add_test(t, gradient_has_types_and_places);
    tcase_add_test(t, lowest_index_wins_a_tie);
    tcase_add_test(t, survives_extremes);
    tcase_add_test(t, weight_zero_is_no_gradient);
    tcase_add_test(t, cap_counts);
    tcase_add_test(t, tanh_is_close);
    tcase_add_test(t, tanh_does_not_depend_on_place);
    tcase_add_test(t, does_not_depend_on_alignment);
}

int main(void)
{
    return run_suite("kern/softmax_ce", add);
}
