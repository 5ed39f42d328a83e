/* The machine's speed: plausible, and a bfloat16 rate exactly where the CPU can. */
#include "base/err.h"
#include "check_main.h"
#include "kern/peak.h"

#include <string.h>

static const double SECONDS = 0.02;

/* A core does at least one multiply-add a cycle of a slow clock, and at most four in registers of
 * 64 bytes at a fast one. */
START_TEST(single_precision)
{
    double rate = peak_fma_flops(SECONDS);
    ck_assert_double_gt(rate, 1e8);
    ck_assert_double_lt(rate, 4 * 32 * 8e9);
}
END_TEST

START_TEST(bfloat16)
{
    double rate = peak_bf16_flops(SECONDS);
#if defined __x86_64__
    ck_assert_int_eq(rate > 0, __builtin_cpu_supports("avx512bf16") != 0);
#endif
    if (rate > 0)
        ck_assert_double_gt(rate, peak_fma_flops(SECONDS) / 4);
}
END_TEST

START_TEST(instructions)
{
    ck_assert_ptr_nonnull(peak_isa());
#if defined __x86_64__
    ck_assert_int_eq(strcmp(peak_isa(), "avx512") == 0, __builtin_cpu_supports("avx512f") != 0);
#endif
}
END_TEST

START_TEST(memory)
{
    struct peak_memory m = {0};
    ck_assert_int_eq(peak_memory(&m, SECONDS), OK);
    ck_assert_double_gt(m.copy, 1e7);
    ck_assert_double_gt(m.triad, 1e7);
    ck_assert_double_lt(m.copy, 1e13);
    ck_assert_double_lt(m.triad, 1e13);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, single_precision);
    tcase_add_test(t, bfloat16);
    tcase_add_test(t, instructions);
    tcase_add_test(t, memory);
}

int main(void)
{
    return run_suite("kern/peak", add);
}
