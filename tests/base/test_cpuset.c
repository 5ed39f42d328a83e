/* Sets of processors: the kernel's lists, and binding. */
#include "base/cpuset.h"
#include "check_main.h"

#include <string.h>

static struct cpuset parsed(const char *list)
{
    struct cpuset s;
    ck_assert_msg(cpuset_parse(&s, list), "%s", list);
    return s;
}

START_TEST(lists_are_read_and_written)
{
    static const struct {
        const char *in, *out;
        int n;
    } rows[] = {{"0\n", "0", 1},
                {"0-3", "0-3", 4},
                {"0-1,64-65", "0-1,64-65", 4},
                {"3,1,2,8", "1-3,8", 4},
                {"0-1023", "0-1023", 1024}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];
        struct cpuset s = parsed(rows[i].in);
        ck_assert_str_eq(cpuset_text(text, sizeof text, &s), rows[i].out);
        ck_assert_int_eq(cpuset_count(&s), rows[i].n);
    }
}
END_TEST

START_TEST(what_is_no_list_is_refused)
{
    static const char *const bad[] = {"",     "\n", "a",   "1-",     "3-1", "1,",
                                      "1024", "-1", "1;2", "0-5000", "0,,1"};
    struct cpuset s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!cpuset_parse(&s, bad[i]), "\"%s\"", bad[i]);
}
END_TEST

START_TEST(a_long_list_is_cut)
{
    char text[8];
    struct cpuset s = parsed("0,2,4,6,8,10,12");
    ck_assert_str_eq(cpuset_text(text, sizeof text, &s), "0,2,4,6");
}
END_TEST

START_TEST(sets_meet_and_unite)
{
    struct cpuset a = parsed("0-63"), b = parsed("64-127"), c = parsed("63-64");
    ck_assert(!cpuset_meets(&a, &b));
    ck_assert(cpuset_meets(&a, &c));
    ck_assert(cpuset_meets(&b, &c));
    cpuset_unite(&a, &b);
    struct cpuset all = parsed("0-127");
    ck_assert(cpuset_equal(&a, &all));
    ck_assert(!cpuset_equal(&a, &b));
}
END_TEST

START_TEST(binding_holds)
{
    struct cpuset before, one = {0}, now;
    cpuset_of_process(&before, 0);
    ck_assert_int_ge(cpuset_count(&before), 1);
    for (int cpu = 0; cpuset_count(&one) == 0; cpu++)
        if (cpuset_has(&before, cpu))
            cpuset_add(&one, cpu);
    ck_assert(cpuset_bind(&one));
    cpuset_of_process(&now, 0);
    ck_assert(cpuset_equal(&now, &one));
    ck_assert(cpuset_bind(&before));
    struct cpuset none = {0};
    ck_assert(!cpuset_bind(&none));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, lists_are_read_and_written);
    tcase_add_test(t, what_is_no_list_is_refused);
    tcase_add_test(t, a_long_list_is_cut);
    tcase_add_test(t, sets_meet_and_unite);
    tcase_add_test(t, binding_holds);
}

int main(void)
{
    return run_suite("base/cpuset", add);
}
