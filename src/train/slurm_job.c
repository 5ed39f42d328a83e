#include "train/slurm_job.h"

#include "base/clock.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MAX = 4096 };

static const double PATIENCE_S = 10;

static bool is_number(const char *job)
{
    return *job >= '0' && *job <= '9' && job[strspn(job, "0123456789_")] == '\0';
}

/* A job that waits to be started again is not among them: it may begin at any moment. */
static bool is_end(const char *word, size_t n)
{
    static const char *const ends[] = {"BOOT_FAIL", "CANCELLED", "COMPLETED",     "DEADLINE",
                                       "FAILED",    "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
                                       "REVOKED",   "TIMEOUT"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strlen(ends[i]) == n && memcmp(ends[i], word, n) == 0)
            return true;
    return false;
}

/* A line for each task of an array: all of them must have ended. */
static bool all_ended(const char *answer)
{
    size_t n_lines = 0;
    for (const char *at = answer; *at != '\0'; n_lines++) {
        size_t n = strcspn(at, " \n");
        if (!is_end(at, n))
            return false;
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    return n_lines > 0;
}

/* squeue, telling state and end, with its standard output at the pipe's end `to` and nothing to say
 * on ours. */
static bool start(pid_t *pid, const char *job, int to)
{
    char name[] = "env", seconds[] = "SLURM_TIME_FORMAT=%s", squeue[] = "squeue", header[] = "-h",
         states[] = "-t", all[] = "all", of[] = "-j", format[] = "-o", state[] = "%T %e",
         number[64];
    snprintf(number, sizeof number, "%s", job);
    char *const args[] = {name, seconds, squeue, header, states, all,
                          of,   number,  format, state,  NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int rc = posix_spawnp(pid, name, &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc == 0;
}

/* All that comes until the other end closes; false when that takes too long or is too much. */
static bool read_answer(int from, char answer[ANSWER_MAX], double patience_s)
{
    size_t n = 0;
    double until = clock_now_s() + patience_s;
    for (;;) {
        struct pollfd p = {.fd = from, .events = POLLIN};
        int left = (int)((until - clock_now_s()) * 1000);
        if (left <= 0 || n == ANSWER_MAX - 1 || poll(&p, 1, left) <= 0)
            return false;
        ssize_t k = read(from, answer + n, ANSWER_MAX - 1 - n);
        if (k < 0)
            return false;
        answer[n + (size_t)k] = '\0';
        if (k == 0)
            return true;
        n += (size_t)k;
    }
}

/* False also for a text that is no job's number. */
static bool ask(const char *job, char answer[ANSWER_MAX], double patience_s)
{
    int ends[2], status = -1;
    pid_t pid;
    if (!is_number(job) || pipe2(ends, O_CLOEXEC) != 0)
        return false;
    bool started = start(&pid, job, ends[1]);
    close(ends[1]);
    bool whole = started && read_answer(ends[0], answer, patience_s);
    close(ends[0]);
    if (started && !whole)
        kill(pid, SIGKILL);
    bool known = started && waitpid(pid, &status, 0) == pid;
    return whole && known && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool slurm_job_has_ended(const char *job)
{
    char answer[ANSWER_MAX] = "";
    return ask(job, answer, PATIENCE_S) && all_ended(answer);
}

/* The whole array has the number of one of its tasks. */
static void name_own(char *out, size_t size)
{
    const char *job = getenv("SLURM_JOB_ID"), *array = getenv("SLURM_ARRAY_JOB_ID"),
               *task = getenv("SLURM_ARRAY_TASK_ID");
    if (array != NULL && task != NULL)
        snprintf(out, size, "%s_%s", array, task);
    else
        snprintf(out, size, "%s", job != NULL ? job : "");
}

double slurm_job_end_s(double patience_s)
{
    char own[64], answer[ANSWER_MAX] = "", *rest = NULL;
    double soonest_s = 0;
    name_own(own, sizeof own);
    if (!ask(own, answer, patience_s))
        return 0;
    for (char *line = strtok_r(answer, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        double end_s = INFINITY; /* what is no number is no limit */
        if (strncmp(line, "RUNNING ", 8) != 0)
            continue;
        sscanf(line + 8, "%lf", &end_s);
        if (soonest_s == 0 || end_s < soonest_s)
            soonest_s = end_s;
    }
    return isnan(soonest_s) ? 0 : soonest_s;
}
