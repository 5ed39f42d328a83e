/* The run folder's lock: one of many who try gets it, a dead holder's is taken over, and a holder
 * that was robbed notices. */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "check_main.h"
#include "train/holder.h"
#include "train/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/carat-lock-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
    unsetenv("SLURM_CLUSTER_NAME");
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *in_folder(const char *name)
{
    static char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(path, folder, name), OK);
    return path;
}

static void put(const char *name, const char *text)
{
    ck_assert_int_eq(fs_write_file(in_folder(name), text, strlen(text)), OK);
}

static void put_holder(const char *name, const struct holder *h)
{
    char line[512];
    holder_text(h, line, sizeof line);
    put(name, line);
}

/* So long ago was the last heartbeat. */
static void silent_for(long s)
{
    struct timespec t[2];
    ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &t[0]), 0);
    t[0].tv_sec -= s;
    t[1] = t[0];
    ck_assert_int_eq(utimensat(AT_FDCWD, in_folder("lock"), t, 0), 0);
}

/* Somebody on a host that nobody here can look at. */
static struct holder elsewhere(void)
{
    struct holder h;
    holder_this(&h);
    snprintf(h.host, sizeof h.host, "elsewhere");
    return h;
}

static int try_to_take(void)
{
    struct run_lock lock;
    int rc = run_lock_take(&lock, folder);
    if (rc == OK)
        run_give_back(&lock);
    return rc;
}

START_TEST(it_is_taken_and_given_back)
{
    struct run_lock lock;
    ck_assert_int_eq(run_lock_take(&lock, folder), OK);
    ck_assert(lock.held && run_heartbeat(&lock));
    ck_assert_int_eq(run_still_ours(&lock), OK);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    run_give_back(&lock);
    ck_assert(!fs_exists(lock.path));
    ck_assert(!fs_exists(in_folder("lock.guard")));
    ck_assert_int_eq(try_to_take(), OK);
}
END_TEST

START_TEST(giving_back_keeps_the_error)
{
    struct run_lock lock;
    ck_assert_int_eq(run_lock_take(&lock, folder), OK);
    (void)ERR(E_DATA, "what ended the run");
    unlink(lock.path);
    run_give_back(&lock);
    ck_assert_int_eq(err_code(), E_DATA);
    ck_assert_str_eq(err_message(), "what ended the run");
}
END_TEST

/* A heartbeat is due when the last one is long ago by this process's clock. */
START_TEST(a_heartbeat_touches_the_file)
{
    enum { LONG_AGO_S = 1000, LATELY_S = 60 };
    struct run_lock lock;
    struct stat st;
    ck_assert_int_eq(run_lock_take(&lock, folder), OK);
    silent_for(LONG_AGO_S);
    ck_assert(run_heartbeat(&lock));
    ck_assert_int_eq(stat(lock.path, &st), 0);
    ck_assert_int_gt(time(NULL) - st.st_mtime, LATELY_S); /* not yet */
    atomic_store(&lock.beat_ms, -1000000);
    ck_assert(run_heartbeat(&lock));
    ck_assert_int_eq(stat(lock.path, &st), 0);
    ck_assert_int_lt(time(NULL) - st.st_mtime, LATELY_S);
    run_give_back(&lock);
}
END_TEST

START_TEST(a_silent_holder_is_replaced)
{
    struct holder h = elsewhere();
    put_holder("lock", &h);
    silent_for(30);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "on elsewhere, last sign of life 3"));
    silent_for(590);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    silent_for(610);
    ck_assert_int_eq(try_to_take(), OK);
}
END_TEST

/* Versions without a heartbeat wrote lines without a boot. */
START_TEST(silence_says_nothing_of_who_never_spoke)
{
    put("lock", "elsewhere 12 - 0 345\n");
    silent_for(100000);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    ck_assert_ptr_null(strstr(err_message(), "sign of life"));
}
END_TEST

START_TEST(a_torn_lock_is_replaced_in_time)
{
    put("lock", "");
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "does not say who"));
    silent_for(610);
    ck_assert_int_eq(try_to_take(), OK);
}
END_TEST

/* A socket cannot be opened. */
START_TEST(a_lock_that_cannot_be_read_is_not_taken_over)
{
    ck_assert_int_eq(mknod(in_folder("lock"), S_IFSOCK | 0600, 0), 0);
    silent_for(610);
    ck_assert_int_eq(try_to_take(), E_IO);
    ck_assert_ptr_nonnull(strstr(err_message(), "cannot open"));
}
END_TEST

START_TEST(a_dead_process_of_this_host_is_replaced)
{
    struct holder h;
    holder_this(&h);
    h.pid = ck_dead_process();
    put_holder("lock", &h);
    ck_assert_int_eq(try_to_take(), OK);
    h.pid = (long)getppid();
    h.start = 1; /* its number belongs to another process now */
    put_holder("lock", &h);
    ck_assert_int_eq(try_to_take(), OK);
}
END_TEST

/* A number means nothing on another host of this name, and nothing in another container. */
START_TEST(a_number_counts_where_it_was_given)
{
    struct holder here, h;
    holder_this(&here);
    here.pid = ck_dead_process();
    h = here;
    snprintf(h.boot, sizeof h.boot, "another-boot");
    put_holder("lock", &h);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    h = here;
    h.pids++;
    put_holder("lock", &h);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
}
END_TEST

START_TEST(a_requeued_job_replaces_its_earlier_start)
{
    struct holder h = elsewhere();
    snprintf(h.job, sizeof h.job, "77");
    snprintf(h.cluster, sizeof h.cluster, "one");
    h.restart = 1;
    put_holder("lock", &h);
    setenv("SLURM_JOB_ID", "77", 1);
    setenv("SLURM_RESTART_COUNT", "1", 1);
    setenv("SLURM_CLUSTER_NAME", "one", 1);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    setenv("SLURM_RESTART_COUNT", "2", 1);
    setenv("SLURM_CLUSTER_NAME", "two", 1);
    ck_assert_int_eq(try_to_take(), E_CONFIG);
    setenv("SLURM_CLUSTER_NAME", "one", 1);
    ck_assert_int_eq(try_to_take(), OK);
}
END_TEST

/* A squeue that answers as the test wants and notes that it was asked. */
static void answer(const char *says)
{
    static char before[4096];
    char path[FS_PATH_MAX + sizeof before], text[FS_PATH_MAX];
    if (*before == '\0')
        snprintf(before, sizeof before, "%s", getenv("PATH"));
    snprintf(text, sizeof text, "#!/bin/sh\necho \"$*\" >>%s/asked\n%s\n", folder, says);
    put("squeue", text);
    ck_assert_int_eq(chmod(in_folder("squeue"), 0755), 0);
    snprintf(path, sizeof path, "%s:%s", folder, before);
    setenv("PATH", path, 1);
}

START_TEST(slurm_tells_of_other_jobs)
{
    static const struct {
        const char *job, *says;
        int rc;
        bool is_asked;
    } rows[] = {
        {"77", "echo COMPLETED", OK, true},
        {"77", "echo CANCELLED", OK, true},
        {"77", "echo NODE_FAIL; echo TIMEOUT", OK, true},
        {"77_3", "echo FAILED", OK, true},
        {"77", "echo RUNNING", E_CONFIG, true},
        {"77", "echo COMPLETING", E_CONFIG, true},
        {"77", "echo PENDING", E_CONFIG, true}, /* it may begin at any moment */
        {"77", "echo COMPLETED; echo RUNNING", E_CONFIG, true},
        {"77", "true", E_CONFIG, true},
        {"77", "echo COMPLETED; exit 1", E_CONFIG, true},
        {"77", "kill -9 $$", E_CONFIG, true},
        {"77;id", "echo COMPLETED", E_CONFIG, false},
        {"-t", "echo COMPLETED", E_CONFIG, false},
        {"-", "echo COMPLETED", E_CONFIG, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct holder h = elsewhere();
        snprintf(h.job, sizeof h.job, "%s", rows[i].job);
        put_holder("lock", &h);
        answer(rows[i].says);
        ck_assert_msg(try_to_take() == rows[i].rc, "job %s, squeue: %s: %s", rows[i].job,
                      rows[i].says, err_message());
        ck_assert_msg(fs_exists(in_folder("asked")) == rows[i].is_asked, "job %s", rows[i].job);
        unlink(in_folder("asked"));
        unlink(in_folder("lock"));
    }
}
END_TEST

/* Its guard would keep all others out. */
START_TEST(who_died_while_it_took_the_lock_is_no_hindrance)
{
    struct holder h;
    holder_this(&h);
    h.pid = ck_dead_process();
    put_holder("lock.guard", &h);
    ck_assert_int_eq(try_to_take(), OK);
    ck_assert(!fs_exists(in_folder("lock.guard")));
}
END_TEST

/* Stopped while it holds the lock, robbed, and woken: it must find out and leave all as it is. */
static void sleep_and_look(void)
{
    struct run_lock lock;
    if (run_lock_take(&lock, folder) != OK)
        _exit(10);
    raise(SIGSTOP);
    if (!run_heartbeat(&lock)) /* not due yet */
        _exit(11);
    atomic_store(&lock.beat_ms, -1000000);
    if (run_heartbeat(&lock) || !run_is_lost(&lock) || run_still_ours(&lock) != E_IO)
        _exit(12);
    run_give_back(&lock);
    _exit(0);
}

START_TEST(a_robbed_holder_finds_out)
{
    struct run_lock lock;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        sleep_and_look();
    ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
    ck_assert(WIFSTOPPED(status));
    ck_assert_int_eq(run_lock_take(&lock, folder), E_CONFIG); /* it is there, after all */
    silent_for(610);
    ck_assert_int_eq(run_lock_take(&lock, folder), OK);
    kill(pid, SIGCONT);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert_int_eq(run_still_ours(&lock), OK);
    run_give_back(&lock);
}
END_TEST

START_TEST(who_was_robbed_sees_it_by_the_text_alone)
{
    struct run_lock lock;
    struct holder h = elsewhere();
    ck_assert_int_eq(run_lock_take(&lock, folder), OK);
    put_holder("lock", &h);
    ck_assert_int_eq(run_still_ours(&lock), E_IO);
    ck_assert(run_is_lost(&lock) && !run_heartbeat(&lock));
    run_give_back(&lock);
    ck_assert(fs_exists(in_folder("lock")));
}
END_TEST

/* ---- races ---- */

enum { RACES = 50 };

/* Tries once it is let go, tells how that ended, and holds what it got until `over` is closed. */
static void race(int go, int told, int over)
{
    char byte, end = 'x';
    struct run_lock lock;
    if (read(go, &byte, 1) != 1)
        _exit(1);
    int rc = run_lock_take(&lock, folder);
    end = rc == OK ? 'w' : rc == E_CONFIG ? 'r' : 'x';
    if (write(told, &end, 1) != 1 || read(over, &byte, 1) != 0)
        _exit(1);
    _exit(0); /* as if killed: the lock stays */
}

static void let_go(int to, int n)
{
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(write(to, "g", 1), 1);
}

static void run_race(int n)
{
    int go[2], told[2], over[2], winners = 0, refused = 0;
    pid_t pid[8];
    char end;
    ck_assert_int_eq(pipe(go), 0);
    ck_assert_int_eq(pipe(told), 0);
    ck_assert_int_eq(pipe(over), 0);
    for (int i = 0; i < n; i++)
        if ((pid[i] = fork()) == 0) {
            close(over[1]);
            race(go[0], told[1], over[0]);
        }
    let_go(go[1], n);
    for (int i = 0; i < n; i++) {
        ck_assert_int_eq(read(told[0], &end, 1), 1);
        winners += end == 'w';
        refused += end == 'r';
    }
    close(over[1]);
    for (int i = 0; i < n; i++)
        waitpid(pid[i], NULL, 0);
    close(over[0]), close(go[0]), close(go[1]), close(told[0]), close(told[1]);
    ck_assert_int_eq(winners, 1);
    ck_assert_int_eq(refused, n - 1);
}

/* The first race is for a free folder, the others for a dead holder's. */
START_TEST(one_of_many_gets_it)
{
    for (int i = 0; i < RACES; i++)
        run_race(2 + 2 * _i);
    ck_assert(!fs_exists(in_folder("lock.guard")));
}
END_TEST

/* Killed anywhere on its way; one that had made the guard and not yet signed it costs 2 s. */
START_TEST(killed_racers_leave_it_takeable)
{
    enum { KILLS = 8, APART_US = 100 };
    for (int i = 0; i < KILLS; i++) {
        struct run_lock lock;
        pid_t pid = fork();
        if (pid == 0) {
            (void)run_lock_take(&lock, folder);
            _exit(0);
        }
        usleep((useconds_t)(i * APART_US));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        ck_assert_msg(run_lock_take(&lock, folder) == OK, "race %d: %s", i, err_message());
        run_give_back(&lock);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, it_is_taken_and_given_back);
    tcase_add_test(t, giving_back_keeps_the_error);
    tcase_add_test(t, a_heartbeat_touches_the_file);
    tcase_add_test(t, a_silent_holder_is_replaced);
    tcase_add_test(t, silence_says_nothing_of_who_never_spoke);
    tcase_add_test(t, a_torn_lock_is_replaced_in_time);
    tcase_add_test(t, a_lock_that_cannot_be_read_is_not_taken_over);
    tcase_add_test(t, a_dead_process_of_this_host_is_replaced);
    tcase_add_test(t, a_number_counts_where_it_was_given);
    tcase_add_test(t, a_requeued_job_replaces_its_earlier_start);
    tcase_add_test(t, slurm_tells_of_other_jobs);
    tcase_add_test(t, who_died_while_it_took_the_lock_is_no_hindrance);
    tcase_add_test(t, a_robbed_holder_finds_out);
    tcase_add_test(t, who_was_robbed_sees_it_by_the_text_alone);
    tcase_add_loop_test(t, one_of_many_gets_it, 0, 2);
    tcase_add_test(t, killed_racers_leave_it_takeable);
}

int main(void)
{
    return run_suite("train/lock", add);
}
