/* The instruction set in use has a name; the set that CARAT_ISA asks for is the one that is used.
 * tests/cli/isa.sh runs the kernels' tests on every set. */
#include "base/isa.h"
#include "check_main.h"

#include <string.h>

START_TEST(name_is_the_one_asked_for)
{
    static const struct {
        const char *key, *name;
    } sets[] = {{"baseline", "x86-64"},
                {"v3", "x86-64-v3"},
                {"v4", "x86-64-v4"},
                {"v4_bf16", "x86-64-v4, bf16"}};
    const char *wish = getenv("CARAT_ISA");
    ck_assert(isa_name() != NULL && *isa_name() != '\0');
    for (size_t i = 0; wish && i < sizeof sets / sizeof *sets; i++)
        if (strcmp(wish, sets[i].key) == 0)
            ck_assert_str_eq(isa_name(), sets[i].name);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, name_is_the_one_asked_for);
}

int main(void)
{
    return run_suite("base/isa", add);
}
