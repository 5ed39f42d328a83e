/* Who prints what where; the status line is for terminals alone and gives way to others. */
#include "base/err.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "check_main.h"

#include <pty.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct capture {
    char out[4096], err[4096];
};

static void drain(int fd, char *text, size_t n)
{
    size_t got = 0;
    ssize_t k;
    while (got < n - 1 && (k = read(fd, text + got, n - 1 - got)) > 0)
        got += (size_t)k;
    text[got] = '\0';
    close(fd);
}

/* Runs f in a child whose stdout is a terminal or a pipe. */
static void capture_child(struct capture *c, bool terminal, void (*f)(void))
{
    int out[2], err[2];
    ck_assert_int_eq(terminal ? openpty(&out[0], &out[1], NULL, NULL, NULL) : pipe(out), 0);
    ck_assert_int_eq(pipe(err), 0);
    fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        f();
        fflush(NULL);
        _exit(0);
    }
    close(out[1]);
    close(err[1]);
    drain(out[0], c->out, sizeof c->out);
    drain(err[0], c->err, sizeof c->err);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

/* A container may have none to give; the tests of the status line then cannot run. */
static bool no_terminals(void)
{
    int master, slave;
    if (openpty(&master, &slave, NULL, NULL, NULL) != 0) {
        printf("SKIP: the status line: no pseudo-terminal can be opened here\n");
        return true;
    }
    close(master);
    close(slave);
    return false;
}

static void speak(void)
{
    log_status("50%%");
    log_info("loss %.2f", 1.5);
    log_warn("slow %s", "disk");
    log_file("hidden");
}

static void speak_as_rank_1(void)
{
    log_set_rank(1, "node7");
    speak();
}

static void speak_to_stderr(void)
{
    log_to_stderr(true);
    speak();
}

static void speak_quietly(void)
{
    log_quiet(true);
    speak();
}

START_TEST(rank_0_prints)
{
    struct capture c;
    capture_child(&c, false, speak);
    ck_assert_str_eq(c.out, "loss 1.50\n");
    ck_assert_str_eq(c.err, "carat: warning: slow disk\n");
}
END_TEST

START_TEST(other_ranks_are_silent)
{
    struct capture c;
    if (no_terminals())
        return;
    capture_child(&c, true, speak_as_rank_1);
    ck_assert_str_eq(c.out, "");
    ck_assert_str_eq(c.err, "");
}
END_TEST

START_TEST(info_can_go_to_stderr)
{
    struct capture c;
    if (no_terminals())
        return;
    capture_child(&c, true, speak_to_stderr);
    ck_assert_str_eq(c.out, "");
    ck_assert_str_eq(c.err, "loss 1.50\ncarat: warning: slow disk\n");
}
END_TEST

START_TEST(info_can_be_kept_quiet)
{
    struct capture c;
    capture_child(&c, false, speak_quietly);
    ck_assert_str_eq(c.out, "");
    ck_assert_str_eq(c.err, "carat: warning: slow disk\n");
    if (no_terminals())
        return;
    capture_child(&c, true, speak_quietly);
    ck_assert_str_eq(c.out, "");
}
END_TEST

static void show_status(void)
{
    log_status("1%%");
    log_status("2%%");
    log_info("done");
    log_info("more");
    log_status("3%%");
    log_status_end();
    log_status_end();
}

START_TEST(status_replaces_itself_on_a_terminal)
{
    struct capture c;
    if (no_terminals())
        return;
    capture_child(&c, true, show_status);
    ck_assert_str_eq(c.out, "\r\033[K1%\r\033[K2%\r\033[Kdone\r\nmore\r\n\r\033[K3%\r\033[K");
}
END_TEST

static void show_long_status(void)
{
    char text[300];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_status("%s", text);
}

START_TEST(status_never_wraps)
{
    struct capture c;
    if (no_terminals())
        return;
    capture_child(&c, true, show_long_status);
    ck_assert_uint_eq(strlen(c.out), 4 + 79);
}
END_TEST

static char log_path[64];

static void speak_to_file(void)
{
    if (log_open(log_path) != OK)
        _exit(1);
    speak();
    log_close();
    log_info("after");
}

START_TEST(file_is_appended_with_stamps)
{
    strcpy(log_path, "/tmp/carat-log-XXXXXX");
    int fd = mkstemp(log_path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "old\n", 4), 4);
    close(fd);
    struct capture c;
    capture_child(&c, false, speak_to_file);
    char *text;
    size_t n;
    ck_assert_int_eq(fs_read_file(log_path, 0, &text, &n), OK);
    static const char *const want[] = {" loss 1.50", " warning: slow disk", " hidden"};
    char *line = strtok(text, "\n");
    ck_assert_str_eq(line, "old");
    for (int i = 0; i < 3; i++) {
        line = strtok(NULL, "\n");
        ck_assert_ptr_nonnull(line);
        ck_assert_str_eq(line + 20, want[i]); /* behind "2026-11-24T02:30:01Z" */
    }
    ck_assert_ptr_null(strtok(NULL, "\n"));
    mem_free(text);
    unlink(log_path);
}
END_TEST

START_TEST(file_that_cannot_open_is_an_error)
{
    ck_assert_int_eq(log_open("/nonexistent/log.txt"), E_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "/nonexistent/log.txt"));
}
END_TEST

static void say_who(void)
{
    log_set_rank(3, "node7");
    fputs(log_who(), stderr);
}

START_TEST(names_the_process)
{
    struct capture c;
    ck_assert_str_eq(log_who(), "");
    capture_child(&c, false, say_who);
    ck_assert_str_eq(c.err, "rank 3 on node7");
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, rank_0_prints);
    tcase_add_test(t, other_ranks_are_silent);
    tcase_add_test(t, info_can_go_to_stderr);
    tcase_add_test(t, info_can_be_kept_quiet);
    tcase_add_test(t, status_replaces_itself_on_a_terminal);
    tcase_add_test(t, status_never_wraps);
    tcase_add_test(t, file_is_appended_with_stamps);
    tcase_add_test(t, file_that_cannot_open_is_an_error);
    tcase_add_test(t, names_the_process);
}

int main(void)
{
    return run_suite("base/log", add);
}
