/* Many workers race on a study's folder while some are killed and some sleep: no trial is lost,
 * none is made twice. */
#include "base/err.h"
#include "base/fault.h"
#include "base/mem.h"
#include "check_main.h"
#include "study/planner.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64];

static const char *at(const char *name)
{
    static char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(path, root, name), OK);
    return path;
}

enum { WORKERS = 50, TRIALS = 1000, KILLED = 10, STOPPED = 6 };
#define RACE_STALE_S 2.0 /* in which a living worker surely beats, on a busy machine as well */

static int race_propose(void *self, const struct history *h, struct trial_plan *plan,
                        enum answer *answer)
{
    (void)self;
    *answer = h->n < TRIALS ? ANSWER_GO : ANSWER_STOP;
    if (h->n >= TRIALS)
        return OK;
    /* Every second trial is judged once on its way. */
    int n = h->n % 2;
    TRY(mem_alloc(&plan->milestones, (size_t)n, sizeof(double), "milestones"));
    if (n > 0)
        plan->milestones[0] = 1000;
    plan->n_milestones = n;
    TRY(mem_alloc(&plan->set, 1, sizeof *plan->set, "set"));
    plan->n_set = 1;
    snprintf(plan->set->key, sizeof plan->set->key, "optimizer.lr");
    snprintf(plan->set->value, sizeof plan->set->value, "%g", 1e-6 * (h->n + 1));
    return OK;
}

/* Every tenth of those is given up there. */
static int race_judge(void *self, const struct history *h, int i, int k, enum answer *answer,
                      char *why)
{
    (void)self;
    (void)h;
    *answer = k == 0 && i % 20 == 1 ? ANSWER_STOP : ANSWER_GO;
    snprintf(why, 256, "one of ten");
    return OK;
}

static const struct planner RACE = {.kind = "search", .propose = race_propose, .judge = race_judge};

static double value_of(int trial)
{
    return 1.0 / (trial + 1);
}

/* What a worker does is noted in one line, which O_APPEND keeps whole. */
static void note(const char *what, const struct task *t)
{
    char line[128];
    int n = snprintf(line, sizeof line, "%s %d %d %d %ld\n", what, t->trial.number, t->milestone,
                     t->claim.generation, (long)getpid());
    int fd = open(at("log"), O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        _exit(3);
    close(fd);
}

static int work(struct study *s, struct task *task)
{
    struct trial *t = &task->trial;
    struct curve_point point = {.step = 1, .tokens = 1000, .loss = value_of(t->number)};
    note("runs", task);
    usleep((useconds_t)(rand() % 4000));
    t->curve = &point;
    t->n_curve = 1;
    t->value = point.loss;
    t->state = TRIAL_DONE;
    int rc = task->milestone < t->plan.n_milestones ? study_reached(s, &task->claim, t)
                                                    : study_end(s, &task->claim, t);
    if (rc == OK)
        note("made", task);
    claim_give_back(&task->claim);
    if (rc != E_STOPPED)
        return rc;
    note("lost", task);
    err_clear();
    return OK;
}

static int race(int seed)
{
    struct study s;
    struct task task;
    enum answer answer = ANSWER_WAIT;
    srand((unsigned)seed);
    int rc = study_open(&s, root, "search", "optimizer.lr: 0.01\n", RACE_STALE_S, 1000);
    while (rc == OK && answer != ANSWER_STOP) {
        rc = study_next(&s, &RACE, NULL, &task, &answer);
        if (rc == OK && answer == ANSWER_GO)
            rc = work(&s, &task);
        else if (rc == OK && answer == ANSWER_WAIT)
            usleep(20000);
    }
    if (rc != OK)
        fprintf(stderr, "worker %d: %s\n", seed, err_message());
    study_close(&s);
    return rc;
}

static pid_t start_worker(int seed)
{
    /* Some die in the middle of a publication. */
    static const char *const FAULTS[] = {"fs.link:0:9:kill", "fs.pwrite:0:12:kill",
                                         "study.add:0:4:kill", "fs.fsync:0:20:kill"};
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    if (seed < (int)(sizeof FAULTS / sizeof *FAULTS)) {
        setenv("CARAT_FAULT", FAULTS[seed], 1);
        fault_rearm();
    }
    _exit(race(seed));
}

static int n_lines(void)
{
    char *text;
    size_t n;
    int lines = 0;
    if (fs_read_file(at("log"), 0, &text, &n) != OK)
        return 0;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    mem_free(text);
    return lines;
}

static void wait_for_lines(int n)
{
    for (int i = 0; i < 6000 && n_lines() < n; i++)
        usleep(10000);
}

/* Starts all; kills and stops some of them in the middle, wakes the stopped ones when others have
 * taken their trials, and waits. pids: of all workers; the first FAULTS and KILLED die. */
static void run_race(pid_t pid[WORKERS])
{
    int status, good = 0;
    for (int i = 0; i < WORKERS; i++)
        pid[i] = start_worker(i);
    for (int i = 0; i < KILLED; i++) {
        wait_for_lines(100 * i);
        kill(pid[4 + i], SIGKILL);
        if (i < STOPPED)
            kill(pid[4 + KILLED + i], SIGSTOP);
    }
    usleep((useconds_t)(1.5e6 * RACE_STALE_S));
    for (int i = 0; i < STOPPED; i++)
        kill(pid[4 + KILLED + i], SIGCONT);
    for (int i = 0; i < WORKERS; i++) {
        ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
        good += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    ck_assert_int_eq(good, WORKERS - 4 - KILLED);
}

static bool was_disturbed(const pid_t *pid, long who)
{
    for (int i = 0; i < 4 + KILLED + STOPPED; i++)
        if (pid[i] == who)
            return true;
    return false;
}

/* Work that was begun and not finished is a killed or a stopped worker's; all else is made once. */
static void check_log(const pid_t *pid)
{
    static int made[TRIALS][2], run[TRIALS][2];
    char *text, what[8];
    size_t n;
    int trial, milestone, generation;
    long who;
    memset(made, 0, sizeof made);
    memset(run, 0, sizeof run);
    ck_assert_int_eq(fs_read_file(at("log"), 0, &text, &n), OK);
    for (char *line = text, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        ck_assert_int_eq(
            sscanf(line, "%7s %d %d %d %ld", what, &trial, &milestone, &generation, &who), 5);
        ck_assert(strcmp(what, "lost") != 0 || was_disturbed(pid, who));
        made[trial][milestone] += strcmp(what, "made") == 0;
        run[trial][milestone] += strcmp(what, "runs") == 0 && !was_disturbed(pid, who);
    }
    mem_free(text);
    for (int i = 0; i < TRIALS; i++)
        for (int k = 0; k <= i % 2 - (i % 20 == 1); k++) {
            ck_assert_msg(made[i][k] <= 1, "trial %d was made %d times", i, made[i][k]);
            ck_assert_msg(run[i][k] <= 1, "trial %d was run %d times", i, run[i][k]);
        }
}

static void check_trials(void)
{
    struct study s;
    struct history h;
    ck_assert_int_eq(study_read(&s, root), OK);
    ck_assert_int_eq(study_history(&s, &h), OK);
    ck_assert_int_eq(h.n, TRIALS);
    for (int i = 0; i < TRIALS; i++) {
        const struct trial *t = &h.trial[i];
        ck_assert_int_eq(t->state, i % 20 == 1 ? TRIAL_PRUNED : TRIAL_DONE);
        ck_assert_int_eq(t->n_reached, i % 2);
        ck_assert(t->value == value_of(i));
        char lr[32];
        snprintf(lr, sizeof lr, "%g", 1e-6 * (i + 1));
        ck_assert_str_eq(trial_setting(&t->plan, "optimizer.lr"), lr);
    }
    study_close(&s);
}

static void check_no_leftovers(void)
{
    char command[256];
    snprintf(command, sizeof command, "[ -z \"$(find '%s' -name '.new-*' -o -name '*.tmp.*')\" ]",
             root);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(a_thousand_trials_by_fifty_workers)
{
    pid_t pid[WORKERS];
    const char *shm = "/dev/shm"; /* where it is there: the race is what counts, not the disk */
    snprintf(root, sizeof root, "%s/carat-race-XXXXXX", access(shm, W_OK) == 0 ? shm : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
    run_race(pid);
    check_trials();
    check_log(pid);
    check_no_leftovers();
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_thousand_trials_by_fifty_workers);
}

int main(void)
{
    return run_suite("study/race", add);
}
