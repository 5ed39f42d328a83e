/* Errors are recorded, passed up and adopted; fatal ends the process; faults hit where armed. */
#include "base/err.h"
#include "base/fault.h"
#include "check_main.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(records_the_latest)
{
    ck_assert_int_eq(ERR(E_DATA, "first"), E_DATA);
    ck_assert_int_eq(ERR(E_IO, "%s: %d", "disk", 7), E_IO);
    ck_assert_str_eq(err_message(), "disk: 7");
    ck_assert_int_eq(err_code(), E_IO);
    ck_assert(strncmp(err_place(), "tests/base/test_err.c:", 22) == 0);
    err_clear();
    ck_assert_int_eq(err_code(), OK);
    ck_assert_str_eq(err_message(), "");
    ck_assert_str_eq(err_place(), "");
}
END_TEST

START_TEST(adds_context_in_front)
{
    ERR(E_IO, "disk full");
    ck_assert_int_eq(err_context(E_IO, "saving step %d", 3), E_IO);
    ck_assert_str_eq(err_message(), "saving step 3: disk full");
    ERR(E_DATA, "again: %s", err_message());
    ck_assert_str_eq(err_message(), "again: saving step 3: disk full");
    err_clear();
    err_context(E_DATA, "alone");
    ck_assert_str_eq(err_message(), "alone");
}
END_TEST

START_TEST(cuts_long_messages)
{
    char text[9000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ERR(E_DATA, "%s", text);
    size_t n = strlen(err_message());
    ck_assert(n > 1000 && n < sizeof text - 1);
    for (int i = 0; i < 5; i++)
        err_context(E_DATA, "%s", text);
    ck_assert_uint_eq(strlen(err_message()), n);
}
END_TEST

START_TEST(adopts_from_another_rank)
{
    err_adopt(E_MEM, "no memory", "src/kern/gemm.c:9");
    ck_assert_int_eq(err_code(), E_MEM);
    ck_assert_str_eq(err_message(), "no memory");
    ck_assert_str_eq(err_place(), "src/kern/gemm.c:9");
    err_adopt(E_MEM, err_message(), err_place());
    ck_assert_str_eq(err_message(), "no memory");
}
END_TEST

static int released;

static int passes_up(int code)
{
    TRY(code);
    return E_BUG;
}

static int releases(int code)
{
    int rc = OK;
    TRY_OUT(code);
out:
    released++;
    return rc;
}

START_TEST(try_passes_up)
{
    ck_assert_int_eq(passes_up(E_DATA), E_DATA);
    ck_assert_int_eq(passes_up(OK), E_BUG);
    ck_assert_int_eq(releases(E_IO), E_IO);
    ck_assert_int_eq(releases(OK), OK);
    ck_assert_int_eq(released, 2);
}
END_TEST

START_TEST(codes_have_distinct_names)
{
    static const int code[] = {OK,    E_USAGE, E_DATA,    E_RANK,     E_BUG,
                               E_MEM, E_IO,    E_STOPPED, E_DIVERGED, E_CONFIG};
    const size_t n = sizeof code / sizeof code[0];
    for (size_t i = 0; i < n; i++) {
        ck_assert_str_ne(err_name(code[i]), err_name(-1));
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(err_name(code[i]), err_name(code[j]));
    }
}
END_TEST

/* Runs f in a child; its wait status, and what it wrote to stderr in text. */
static int in_child(void (*f)(void), char *text, size_t n)
{
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        f();
        _exit(99);
    }
    close(ends[1]);
    ssize_t k, got = 0;
    while ((k = read(ends[0], text + got, n - 1 - (size_t)got)) > 0)
        got += k;
    text[got] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void die(void)
{
    fatal(E_BUG, "arena %d", 5);
}

static void hook(int code)
{
    _exit(code + 1);
}

static bool another_has_spoken(int code, const char *message)
{
    return !(code == E_BUG && strcmp(message, "arena 5") == 0);
}

static void die_after_another(void)
{
    err_set_last_words(another_has_spoken);
    die();
}

static void die_through_hook(void)
{
    err_set_abort_hook(hook);
    fatal(E_BUG, "arena");
}

START_TEST(fatal_ends_with_the_code)
{
    char text[256];
    int status = in_child(die, text, sizeof text);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), E_BUG);
    ck_assert_str_eq(text, "carat: fatal: a bug in carat: arena 5\n");
    status = in_child(die_after_another, text, sizeof text);
    ck_assert_int_eq(WEXITSTATUS(status), E_BUG);
    ck_assert_str_eq(text, "");
    status = in_child(die_through_hook, text, sizeof text);
    ck_assert_int_eq(WEXITSTATUS(status), E_BUG + 1);
}
END_TEST

static void arm(const char *spec)
{
    setenv("CARAT_FAULT", spec, 1);
    fault_rearm();
}

START_TEST(fault_hits_its_turn_only)
{
    fault_set_rank(2);
    arm("io.write:2:3");
    for (int visit = 1; visit <= 5; visit++) {
        ck_assert(!fault_hit("io.read"));
        ck_assert_int_eq(fault_hit("io.write"), visit == 3);
    }
}
END_TEST

START_TEST(fault_hits_its_rank_only)
{
    fault_set_rank(2);
    arm("p:1");
    ck_assert(!fault_hit("p"));
    arm("p:2");
    ck_assert(fault_hit("p"));
    arm("p:*:1:fail");
    ck_assert(fault_hit("p"));
    unsetenv("CARAT_FAULT");
    fault_rearm();
    ck_assert(!fault_hit("p"));
    fault_set_rank(0);
}
END_TEST

static void meet_kill(void)
{
    arm("p:0:2:kill");
    fault_hit("p");
    fault_hit("p");
}

static const char *bad_spec;
static void meet_bad_spec(void)
{
    arm(bad_spec);
    fault_hit("p");
}

START_TEST(fault_can_kill)
{
    char text[256];
    int status = in_child(meet_kill, text, sizeof text);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
}
END_TEST

START_TEST(mistyped_faults_are_refused)
{
    static const char *const bad[] = {"p",     ":0",        "p:",          "p:x",          "p:-1",
                                      "p:0:0", "p:0:1:die", "p:0:1:fail:", "p:0:1:fail:x", "p:0:"};
    char text[256];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bad_spec = bad[i];
        int status = in_child(meet_bad_spec, text, sizeof text);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == E_USAGE, "accepted %s", bad[i]);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, records_the_latest);
    tcase_add_test(t, adds_context_in_front);
    tcase_add_test(t, cuts_long_messages);
    tcase_add_test(t, adopts_from_another_rank);
    tcase_add_test(t, try_passes_up);
    tcase_add_test(t, codes_have_distinct_names);
    tcase_add_test(t, fatal_ends_with_the_code);
    tcase_add_test(t, fault_hits_its_turn_only);
    tcase_add_test(t, fault_hits_its_rank_only);
    tcase_add_test(t, fault_can_kill);
    tcase_add_test(t, mistyped_faults_are_refused);
}

int main(void)
{
    return run_suite("base/err", add);
}
