/* bfloat16 products against the twin on the rounded operands, at sizes that no block divides. */
#include "kern/gemm16.h"

#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "ref/ref.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Products of bfloat16 values are exact in float; sums of k ≤ 300 of them up to 1, relative to the
 * greatest. */
#define TOLERANCE 2e-6
/* A result that is itself rounded to 8 bits. */
#define TOLERANCE_16 4e-3

/* Rows, weight's rows and columns. */
static const size_t sizes[][3] = {{1, 1, 1},   {7, 43, 14},   {22, 64, 32},    {33, 65, 129},
                                  {2, 200, 3}, {128, 70, 96}, {100, 257, 300}, {65, 31, 256}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static struct gemm16 *g;

/* Operands and results of one shape; doubles are what the rounded values are. */
struct set {
    size_t n, out, in;
    float *w;
    uint16_t *x, *dy;
    double *w64, *x64, *dy64;
    void *form[N_FORMS];
};

static uint16_t *rounded(size_t n, uint64_t seed, double **wide)
{
    float *x = ref_random(n, seed, 1.0);
    uint16_t *y;
    ck_assert_int_eq(mem_alloc(&y, n, sizeof *y, "test"), OK);
    bf16_narrow(y, x, n);
    bf16_widen(x, y, n);
    *wide = ref_widen(x, n);
    free(x);
    return y;
}

static void begin(struct set *s, const size_t size[3])
{
    *s = (struct set){.n = size[0], .out = size[1], .in = size[2]};
    s->x = rounded(s->n * s->in, 1, &s->x64);
    s->dy = rounded(s->n * s->out, 2, &s->dy64);
    s->w = ref_random(s->out * s->in, 3, 1.0);
    mem_free(rounded(s->out * s->in, 3, &s->w64));
    for (int f = 0; f < N_FORMS; f++) {
        size_t bytes = gemm16_form_bytes(s->out, s->in, (enum gemm16_form)f);
        ck_assert_int_eq(mem_alloc(&s->form[f], bytes, 1, "test"), OK);
        memset(s->form[f], 0xff, bytes); /* NaN, where packing forgets something */
        gemm16_pack(g, (enum gemm16_form)f, s->form[f], s->w, s->out, s->in, 0, s->out);
    }
}

static void end(struct set *s)
{
    mem_free(s->x), mem_free(s->dy), mem_free(s->form[0]), mem_free(s->form[1]);
    free(s->w), free(s->w64), free(s->x64), free(s->dy64);
}

/* got[n] of a type against the twin. */
static void expect(const void *got, enum dtype t, const double *want, size_t n, const char *what)
{
    float *wide = ref_floats(n);
    if (t == BF16)
        bf16_widen(wide, got, n);
    else
        memcpy(wide, got, n * sizeof *wide);
    double off = ref_distance(wide, want, n);
    ck_assert_msg(off < (t == BF16 ? TOLERANCE_16 : TOLERANCE), "%s, %zu values: %g", what, n, off);
    free(wide);
}

static void inputs_product(const struct set *s, enum dtype t)
{
    size_t n_y = s->n * s->out, n_x = s->n * s->in;
    float *got = ref_floats(n_y > n_x ? n_y : n_x);
    double *want = ref_doubles(n_y > n_x ? n_y : n_x);
    ref_gemm(want, s->x64, s->w64, s->n, s->out, s->in, false, true, 1.0, 0.0);
    gemm16_forward(g, got, t, s->x, s->form[FORM_FORWARD], s->n, s->out, s->in);
    expect(got, t, want, n_y, "forward");
    ref_gemm(want, s->dy64, s->w64, s->n, s->in, s->out, false, false, 1.0, 0.0);
    gemm16_backward(g, got, t, s->dy, s->form[FORM_BACKWARD], s->n, s->out, s->in);
    expect(got, t, want, n_x, "backward");
    free(got), free(want);
}

static void weights_gradient(const struct set *s)
{
    size_t n = s->out * s->in;
    float *got = ref_floats(n);
    double *want = ref_doubles(n);
    for (size_t i = 0; i < n; i++)
        got[i] = NAN; /* what not adding must forget */
    ref_gemm(want, s->dy64, s->x64, s->out, s->in, s->n, true, false, 1.0, 0.0);
    gemm16_weight(g, got, s->dy, s->out, s->x, s->n, s->out, s->in, false);
    expect(got, F32, want, n, "weight");
    ref_gemm(want, s->dy64, s->x64, s->out, s->in, s->n, true, false, 1.0, 1.0);
    gemm16_weight(g, got, s->dy, s->out, s->x, s->n, s->out, s->in, true);
    expect(got, F32, want, n, "weight, added");
    free(got), free(want);
}

START_TEST(products_follow_the_twin)
{
    for (int i = 0; i < N_SIZES; i++) {
        struct set s;
        begin(&s, sizes[i]);
        inputs_product(&s, F32);
        inputs_product(&s, BF16);
        weights_gradient(&s);
        end(&s);
    }
}
END_TEST

/* Rows of dy further apart, and weights that end in rows of zeros to skip what lies between. */
START_TEST(rows_may_lie_apart)
{
    const size_t n = 5, in = 40, out = 2048, ld = gemm16_ld(out);
    ck_assert_uint_gt(ld, out);
    ck_assert_uint_eq(gemm16_ld(ld), ld);
    struct set s;
    begin(&s, (const size_t[]){n, ld, in});
    memset(s.w + out * in, 0, (ld - out) * in * sizeof *s.w);
    memset(s.w64 + out * in, 0, (ld - out) * in * sizeof *s.w64);
    for (int f = 0; f < N_FORMS; f++) {
        memset(s.form[f], 0, gemm16_form_bytes(ld, in, (enum gemm16_form)f));
        gemm16_pack(g, (enum gemm16_form)f, s.form[f], s.w, ld, in, 0, out);
    }
    inputs_product(&s, BF16);
    float *got = ref_floats(out * in);
    double *want = ref_doubles(ld * in);
    ref_gemm(want, s.dy64, s.x64, ld, in, n, true, false, 1.0, 0.0);
    gemm16_weight(g, got, s.dy, ld, s.x, n, out, in, false);
    expect(got, F32, want, out * in, "weight");
    free(got), free(want);
    end(&s);
}
END_TEST

START_TEST(slices_make_the_whole)
{
    for (int i = 0; i < N_SIZES; i++)
        for (int f = 0; f < N_FORMS; f++) {
            struct set s;
            begin(&s, sizes[i]);
            size_t bytes = gemm16_form_bytes(s.out, s.in, (enum gemm16_form)f);
            void *parts;
            ck_assert_int_eq(mem_alloc(&parts, bytes, 1, "test"), OK);
            memset(parts, 0xff, bytes);
            for (size_t first = 0; first < s.out; first += GEMM16_SLICE) {
                size_t left = s.out - first;
                gemm16_pack(g, (enum gemm16_form)f, parts, s.w, s.out, s.in, first,
                            left < GEMM16_SLICE ? left : GEMM16_SLICE);
            }
            ck_assert(memcmp(parts, s.form[f], bytes) == 0);
            mem_free(parts);
            end(&s);
        }
}
END_TEST

/* The same bits, and nothing made anew, when a shape comes again after others. */
START_TEST(shapes_are_kept)
{
    struct set s;
    begin(&s, sizes[N_SIZES - 1]);
    float *first = ref_floats(s.n * s.out), *again = ref_floats(s.n * s.out);
    gemm16_forward(g, first, F32, s.x, s.form[FORM_FORWARD], s.n, s.out, s.in);
    gemm16_forward(g, again, F32, s.x, s.form[FORM_FORWARD], s.n - 1, s.out, s.in);
    size_t before = mem_n_allocs();
    gemm16_forward(g, again, F32, s.x, s.form[FORM_FORWARD], s.n, s.out, s.in);
    ck_assert_uint_eq(mem_n_allocs(), before);
    ck_assert_mem_eq(first, again, s.n * s.out * sizeof *first);
    free(first), free(again);
    end(&s);
}
END_TEST

START_TEST(more_shapes_than_there_is_room_for)
{
    struct set s;
    begin(&s, (const size_t[]){400, 5, 6});
    float *all = ref_floats(s.n * s.out), *one = ref_floats(s.n * s.out);
    gemm16_forward(g, all, F32, s.x, s.form[FORM_FORWARD], s.n, s.out, s.in);
    for (size_t n = 1; n <= s.n; n++)
        gemm16_forward(g, one, F32, s.x, s.form[FORM_FORWARD], n, s.out, s.in);
    ck_assert_mem_eq(all, one, s.n * s.out * sizeof *all);
    free(all), free(one);
    end(&s);
}
END_TEST

START_TEST(says_what_is_missing)
{
    struct gemm16 *none;
    if (gemm16_missing() == NULL)
        return;
    ck_assert_int_eq(gemm16_new(&none), E_CONFIG);
    ck_assert_ptr_null(none);
    ck_assert(strstr(err_message(), gemm16_missing()) != NULL);
    /* A plan for another machine needs sizes all the same: two bytes a weight and padding. */
    ck_assert_uint_eq(gemm16_form_bytes(65, 33, FORM_FORWARD), 2 * 128 * 64);
    ck_assert_uint_eq(gemm16_form_bytes(65, 33, FORM_BACKWARD), 2 * 96 * 64);
}
END_TEST

static void make(void)
{
    size_t before = mem_bytes();
    ck_assert_int_eq(gemm16_new(&g), OK);
    ck_assert_uint_eq(mem_bytes() - before, gemm16_bytes());
}

static void drop(void)
{
    gemm16_free(g);
}

static void add(TCase *t)
{
    tcase_add_test(t, says_what_is_missing);
    if (gemm16_missing() != NULL) {
        printf("SKIP: products: %s\n", gemm16_missing());
        return;
    }
    tcase_add_checked_fixture(t, make, drop);
    tcase_add_test(t, products_follow_the_twin);
    tcase_add_test(t, rows_may_lie_apart);
    tcase_add_test(t, slices_make_the_whole);
    tcase_add_test(t, shapes_are_kept);
    tcase_add_test(t, more_shapes_than_there_is_room_for);
}

int main(void)
{
    return run_suite("kern/gemm16", add);
}
