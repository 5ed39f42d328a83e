/* Products of each library on strided views against the twin, and the cases in which a BLAS may do
 * as it likes. */
#include "check_main.h"
#include "kern/gemm.h"
#include "ref/ref.h"

#include <math.h>
#include <string.h>

/* Sums of k ≤ 257 products of values up to 1, relative to the greatest entry of C. */
#define TOLERANCE 2e-6

typedef void gemm_fn(float *c, size_t ldc, const float *a, size_t lda, const float *b, size_t ldb,
                     size_t m, size_t n, size_t k, float alpha, float beta);

/* The rows of A and B that each form reads, and how the twin is told. */
static const struct form {
    gemm_fn *f;
    bool ta, tb;
} forms[] = {{gemm_nt, false, true}, {gemm_nn, false, false}, {gemm_tn, true, false}};

enum { N_FORMS = 3, PAD = 5 };

/* By each library that the program has. */
static void for_libraries(void (*test)(void))
{
    enum gemm_library by_itself = gemm_library();
    for (int l = GEMM_OPENBLAS; l <= GEMM_ONEDNN; l++)
        if (gemm_use((enum gemm_library)l))
            test();
        else
            printf("SKIP: oneDNN's products: the program was built without it\n");
    ck_assert(gemm_use(by_itself));
}

/* x[rows, cols] spread to rows cols + PAD apart; between them NaN that must never be read. */
static float *spread(const float *x, size_t rows, size_t cols)
{
    float *y = ref_floats(rows * (cols + PAD));
    for (size_t i = 0; i < rows * (cols + PAD); i++)
        y[i] = NAN;
    for (size_t i = 0; i < rows; i++)
        memcpy(y + i * (cols + PAD), x + i * cols, cols * sizeof *x);
    return y;
}

static void gaps_untouched(const float *y, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < PAD; j++)
            ck_assert(isnan(y[i * (cols + PAD) + cols + j]));
}

static void compare(const struct form *form, size_t m, size_t n, size_t k, float alpha, float beta)
{
    size_t ra = form->ta ? k : m, ca = form->ta ? m : k;
    size_t rb = form->tb ? n : k, cb = form->tb ? k : n;
    float *a = ref_random(m * k, 1, 1.0), *b = ref_random(n * k, 2, 1.0);
    float *c = ref_random(m * n, 3, 1.0);
    float *as = spread(a, ra, ca), *bs = spread(b, rb, cb), *cs = spread(c, m, n);
    double *a64 = ref_widen(a, m * k), *b64 = ref_widen(b, n * k), *c64 = ref_widen(c, m * n);
    for (size_t i = 0; beta == 0.0f && i < m; i++)
        cs[i * (n + PAD)] = NAN; /* what beta = 0 must forget */
    form->f(cs, n + PAD, as, ca + PAD, bs, cb + PAD, m, n, k, alpha, beta);
    ref_gemm(c64, a64, b64, m, n, k, form->ta, form->tb, (double)alpha, (double)beta);
    double off = ref_distance_rows(cs, n + PAD, c64, m, n);
    ck_assert_msg(off < TOLERANCE, "form %td m %zu n %zu k %zu: %g", form - forms, m, n, k, off);
    gaps_untouched(cs, m, n);
    free(a), free(b), free(c), free(as), free(bs), free(cs), free(a64), free(b64), free(c64);
}

static void follows_the_twin_once(void)
{
    static const size_t sizes[] = {1, 3, 17, 64, 65, 129};
    enum { N = sizeof sizes / sizeof *sizes };
    for (int f = 0; f < N_FORMS; f++)
        for (size_t i = 0; i < N * N * N; i++)
            compare(forms + f, sizes[i % N], sizes[i / N % N], sizes[i / N / N], 1.0f, 0.0f);
}

START_TEST(follows_the_twin)
{
    for_libraries(follows_the_twin_once);
}
END_TEST

static void scales_and_adds_once(void)
{
    for (int f = 0; f < N_FORMS; f++)
        for (size_t n = 1; n < 140; n = n * 2 + 1) {
            compare(forms + f, n, 7, 33, 0.25f, 1.0f);
            compare(forms + f, 31, n, n, -1.5f, 0.5f);
            compare(forms + f, 5, 9, n, 0.0f, 2.0f);
        }
}

START_TEST(scales_and_adds)
{
    for_libraries(scales_and_adds_once);
}
END_TEST

/* Nothing to add: C is scaled, or cleared of whatever it held; nothing to write: nothing happens.
 */
static void takes_empty_sizes_once(void)
{
    for (int f = 0; f < N_FORMS; f++) {
        float c[6] = {1, 2, NAN, 4, 5, NAN}; /* [2,2], rows 3 apart */
        forms[f].f(c, 3, NULL, 1, NULL, 1, 2, 2, 0, 1.0f, 0.5f);
        ck_assert(c[0] == 0.5f && c[1] == 1.0f && c[3] == 2.0f && c[4] == 2.5f && isnan(c[2]));
        c[0] = NAN;
        forms[f].f(c, 3, NULL, 1, NULL, 1, 2, 2, 0, 1.0f, 0.0f);
        ck_assert(c[0] == 0.0f && c[4] == 0.0f && isnan(c[2]));
        forms[f].f(c, 3, NULL, 1, NULL, 1, 0, 2, 4, 1.0f, 0.0f);
        forms[f].f(c, 3, NULL, 1, NULL, 1, 2, 0, 4, 1.0f, 0.0f);
        ck_assert(c[0] == 0.0f && c[4] == 0.0f && isnan(c[2]));
    }
}

START_TEST(takes_empty_sizes)
{
    for_libraries(takes_empty_sizes_once);
}
END_TEST

/* An operand that is transposed by mistake shows. */
static void forms_differ_once(void)
{
    float a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8}, c[N_FORMS][4];
    static const float want[N_FORMS][4] = {{17, 23, 39, 53}, {19, 22, 43, 50}, {26, 30, 38, 44}};
    for (int f = 0; f < N_FORMS; f++) {
        forms[f].f(c[f], 2, a, 2, b, 2, 2, 2, 2, 1.0f, 0.0f);
        for (int i = 0; i < 4; i++)
            ck_assert_float_eq(c[f][i], want[f][i]);
    }
}

START_TEST(forms_differ)
{
    for_libraries(forms_differ_once);
}
END_TEST

START_TEST(names_itself)
{
    gemm_set_threads(1);
    ck_assert(strlen(gemm_core()) > 2);
    ck_assert(strstr(gemm_version(), "OpenBLAS") != NULL);
    enum gemm_library by_itself = gemm_library();
    ck_assert(gemm_use(GEMM_OPENBLAS));
    ck_assert_str_eq(gemm_kernel(), gemm_core());
    if (gemm_use(GEMM_ONEDNN))
        ck_assert(strncmp(gemm_kernel(), "oneDNN ", 7) == 0);
    ck_assert(gemm_use(by_itself));
}
END_TEST

START_TEST(rows_lie_well)
{
    for (size_t n = 1; n < 5000; n++) {
        ck_assert(gemm_ld(n) >= n && gemm_ld(n) % 16 == 0 && gemm_ld(n) % 1024 != 0);
        ck_assert_uint_le(gemm_ld(n), n + 15 + 256);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, follows_the_twin);
    tcase_add_test(t, scales_and_adds);
    tcase_add_test(t, takes_empty_sizes);
    tcase_add_test(t, forms_differ);
    tcase_add_test(t, names_itself);
    tcase_add_test(t, rows_lie_well);
}

int main(void)
{
    return run_suite("kern/gemm", add);
}
