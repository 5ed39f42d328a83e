/* The table of angles. What turns by them is in test_heads.c. */
#include "check_main.h"
#include "kern/rope.h"
#include "ref/ref.h"

#include <math.h>

START_TEST(table_holds_the_angles)
{
    float *t = ref_floats(3000 * 8);
    rope_table(t, 3000, 8, 1e6, 8.0);
    ck_assert(t[0] == 1.0f && t[4] == 0.0f);
    for (size_t p = 0; p < 3000; p += 999)
        for (size_t i = 0; i < 4; i++) {
            double angle = (double)p / (pow(1e6, (double)i / 4.0) * 8.0);
            ck_assert_double_le(fabs((double)t[p * 8 + i] - cos(angle)), 0x1p-24);
            ck_assert_double_le(fabs((double)t[p * 8 + 4 + i] - sin(angle)), 0x1p-24);
        }
    free(t);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, table_holds_the_angles);
}

int main(void)
{
    return run_suite("kern/rope", add);
}
