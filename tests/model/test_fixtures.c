/* The shared reference folders, all quantities, by each library of products. */
#include "base/err.h"
#include "check_main.h"
#include "kern/gemm.h"
#include "ref/fixture.h"

static const char *folder_now;

static void hold(void *ctx, const char *quantity, const char *where, double error, double tolerance)
{
    int *n = ctx;
    ++*n;
    ck_assert_msg(error <= tolerance, "%s: %s %s is off by %g, allowed %g", folder_now, quantity,
                  where, error, tolerance);
}

static void compare(const char *folder)
{
    struct fixture f;
    int n = 0;
    folder_now = folder;
    ck_assert_msg(fixture_load(&f, folder) == OK, "%s", err_message());
    ck_assert_msg(fixture_compare(&f, hold, &n) == OK, "%s", err_message());
    ck_assert_int_eq(n, 10);
    fixture_release(&f);
}

START_TEST(all_folders)
{
    enum gemm_library by_itself = gemm_library();
    for (int l = GEMM_OPENBLAS; l <= GEMM_ONEDNN; l++)
        if (gemm_use((enum gemm_library)l) && fixture_each(compare) == 0)
            printf("SKIP: no reference folders at ../shared/fixtures (CARAT_SHARED)\n");
    ck_assert(gemm_use(by_itself));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, all_folders);
}

int main(void)
{
    return run_suite("model/fixtures", add);
}
