/* Which BLAS kernels are too small for which processors. */
#include "check_main.h"
#include "kern/blas_core.h"
#include "kern/gemm.h"

#include <string.h>

START_TEST(kernels_are_judged_by_their_width)
{
    static const struct {
        const char *core;
        enum simd cpu;
        const char *coretype, *fix; /* NULL: well */
    } rows[] = {
        {"SkylakeX", SIMD_AVX512, NULL, NULL},
        {"Cooperlake", SIMD_AVX512, "Cooperlake", NULL},
        {"SapphireRapids", SIMD_AVX512, NULL, NULL},
        {"Haswell", SIMD_AVX2, NULL, NULL},
        {"Zen", SIMD_AVX2, NULL, NULL},
        {"SkylakeX", SIMD_AVX2, NULL, NULL},
        {"Haswell", SIMD_AVX512, "Haswell", "unset OPENBLAS_CORETYPE"},
        {"Zen", SIMD_AVX512, NULL, "export OPENBLAS_CORETYPE=SkylakeX"},
        {"Prescott", SIMD_AVX2, NULL, "export OPENBLAS_CORETYPE=Haswell"},
        {"prescott", SIMD_AVX512, "Zen9", "unset OPENBLAS_CORETYPE"},
        {"Sandybridge", SIMD_AVX512, "SkylakeX", "export OPENBLAS_CORETYPE=SkylakeX"},
        {"Nehalem", SIMD_AVX, NULL, "export OPENBLAS_CORETYPE=Sandybridge"},
        {"neoversen1", SIMD_UNKNOWN, NULL, NULL},
        {"ANewOne", SIMD_AVX512, NULL, NULL}, /* no false alarm */
        {"Haswell", SIMD_UNKNOWN, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *fix = blas_core_fix(rows[i].core, rows[i].cpu, rows[i].coretype);
        ck_assert_msg((fix == NULL) == (rows[i].fix == NULL), "row %zu: %s", i, fix ? fix : "");
        if (fix != NULL)
            ck_assert_str_eq(fix, rows[i].fix);
    }
}
END_TEST

/* The library that is linked here, on this processor. A forced kernel is none of its choosing. */
START_TEST(this_kernel_is_known)
{
#if defined __x86_64__
    ck_assert_int_ne(simd_of_cpu(), SIMD_UNKNOWN);
    ck_assert_msg(simd_of_core(gemm_core()) != SIMD_UNKNOWN, "%s", gemm_core());
    ck_assert_int_le(simd_of_core(gemm_core()), simd_of_cpu());
#else
    ck_assert_int_eq(simd_of_cpu(), SIMD_UNKNOWN);
#endif
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, kernels_are_judged_by_their_width);
    tcase_add_test(t, this_kernel_is_known);
}

int main(void)
{
    return run_suite("kern/blas_core", add);
}
