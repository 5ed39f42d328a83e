/* A study's folder: what is published is whole and once, whoever works on it and dies meanwhile. */
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "study/planner.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static const char *const JOB = "optimizer.lr: 0.01\n";

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/carat-folder-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    ck_assert_int_eq(system(command), 0);
}

static void open_study(struct study *s, double stale_s, int attempts)
{
    ck_assert_msg(study_open(s, folder, "search", JOB, stale_s, attempts) == OK, "%s",
                  err_message());
}

/* Proposes `most` trials and lets each go on. */
struct counting {
    int most, milestones;
};

static int propose_counted(void *self, const struct history *h, struct trial_plan *plan,
                           enum answer *answer)
{
    const struct counting *c = self;
    *answer = h->n < c->most ? ANSWER_GO : ANSWER_STOP;
    if (*answer == ANSWER_STOP)
        return OK;
    ck_assert_int_eq(mem_alloc(&plan->set, 1, sizeof *plan->set, "set"), OK);
    plan->n_set = 1;
    snprintf(plan->set[0].key, sizeof plan->set[0].key, "optimizer.lr");
    snprintf(plan->set[0].value, sizeof plan->set[0].value, "%d", h->n);
    ck_assert_int_eq(mem_alloc(&plan->milestones, 2, sizeof(double), "milestones"), OK);
    plan->n_milestones = c->milestones;
    for (int i = 0; i < c->milestones; i++)
        plan->milestones[i] = 100.0 * (i + 1);
    return OK;
}

/* Every seventh trial is given up at its first milestone. */
static int judge_counted(void *self, const struct history *h, int i, int k, enum answer *answer,
                         char *why)
{
    (void)self;
    (void)h;
    *answer = k == 0 && i % 7 == 3 ? ANSWER_STOP : ANSWER_GO;
    snprintf(why, 256, "it is trial %d", i);
    return OK;
}

static const struct planner COUNTED = {
    .kind = "search", .propose = propose_counted, .judge = judge_counted};

/* One line in a file that all workers share: whole, as it is short and appended. */
static void note(const char *what, int trial)
{
    char path[128], line[64];
    snprintf(path, sizeof path, "%s/log", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int n = snprintf(line, sizeof line, "%s %d\n", what, trial);
    if (write(fd, line, (size_t)n) != n)
        _exit(1);
    close(fd);
}

static double value_of(int trial)
{
    return 2 + sin(trial);
}

static void work_on(struct study *s, struct task *k)
{
    struct trial t = k->trial;
    const struct curve_point point = {.step = 1, .tokens = 10, .loss = value_of(t.number)};
    t.curve = (struct curve_point *)&point;
    t.n_curve = 1;
    t.value = value_of(t.number);
    if (k->milestone < t.plan.n_milestones) {
        if (study_reached(s, &k->claim, &t) != OK)
            err_clear();
    } else {
        t.state = TRIAL_DONE;
        int rc = study_end(s, &k->claim, &t);
        if (rc == OK)
            note("ended", t.number);
        else
            note("fenced", t.number);
        err_clear();
    }
    claim_give_back(&k->claim);
}

/* Works until the study has ended; dies at its fatal-th piece of work (0: never). */
static void worker(struct counting *c, double stale_s, int fatal, int how)
{
    struct study s;
    struct task k;
    enum answer answer = ANSWER_WAIT;
    open_study(&s, stale_s, 1000);
    for (int pieces = 1; answer != ANSWER_STOP;) {
        if (study_next(&s, &COUNTED, c, &k, &answer) != OK) {
            fprintf(stdout, "%s\n", err_message());
            _exit(1);
        }
        if (answer == ANSWER_WAIT)
            usleep(2000);
        if (answer != ANSWER_GO)
            continue;
        if (pieces++ == fatal)
            kill(getpid(), how);
        work_on(&s, &k);
    }
    study_close(&s);
}

static pid_t start_worker(struct counting *c, double stale_s, int fatal, int how)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid != 0)
        return pid;
    if (freopen("/dev/null", "w", stderr) == NULL)
        _exit(1);
    worker(c, stale_s, fatal, how);
    _exit(0);
}

static void count_notes(const char *what, int *times, int n)
{
    char path[128], word[16];
    int trial;
    snprintf(path, sizeof path, "%s/log", folder);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    while (fscanf(f, "%15s %d", word, &trial) == 2)
        if (strcmp(word, what) == 0 && trial < n)
            times[trial]++;
    fclose(f);
}

enum { TRIALS = 1000, WORKERS = 50, KILLED = 8, STOPPED = 4 };

/* Some workers are killed in the middle of a piece, some are stopped for longer than a claim lives
 * and go on afterwards. */
START_TEST(many_workers_lose_and_repeat_no_trial)
{
    static int ended[TRIALS];
    struct counting c = {.most = TRIALS, .milestones = 1};
    pid_t pid[WORKERS];
    int status;
    make_folder();
    for (int i = 0; i < WORKERS; i++) {
        bool dies = i < KILLED + STOPPED;
        pid[i] = start_worker(&c, 0.4, dies ? 2 + i % 5 : 0, i < KILLED ? SIGKILL : SIGSTOP);
    }
    for (int i = 0; i < WORKERS; i++)
        if (i < KILLED || i >= KILLED + STOPPED) {
            ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
            ck_assert_int_eq(i < KILLED ? WIFSIGNALED(status) : status, i < KILLED);
        }
    for (int i = KILLED; i < KILLED + STOPPED; i++) {
        kill(pid[i], SIGCONT);
        ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
        ck_assert_int_eq(status, 0);
    }
    struct study s;
    struct history h;
    open_study(&s, 60, 3);
    ck_assert_int_eq(study_history(&s, &h), OK);
    ck_assert_int_eq(h.n, TRIALS);
    count_notes("ended", ended, TRIALS);
    for (int i = 0; i < TRIALS; i++) {
        bool given_up = i % 7 == 3;
        ck_assert_int_eq(h.trial[i].state, given_up ? TRIAL_PRUNED : TRIAL_DONE);
        ck_assert_int_eq(ended[i], !given_up);
        ck_assert_int_eq(h.trial[i].n_reached, 1);
        ck_assert(h.trial[i].value == value_of(i));
    }
    study_close(&s);
    remove_folder();
}
END_TEST

START_TEST(a_stopped_worker_publishes_nothing_once_it_was_taken_over)
{
    struct counting c = {.most = 1};
    struct study s, other;
    struct task k, later;
    struct history h;
    enum answer answer;
    make_folder();
    open_study(&s, 60, 3);
    ck_assert_int_eq(study_next(&s, &COUNTED, &c, &k, &answer), OK);
    ck_assert_int_eq(answer, ANSWER_GO);
    open_study(&other, 1e-3, 3);
    /* The silence is measured from the first look on. */
    ck_assert_int_eq(study_next(&other, &COUNTED, &c, &later, &answer), OK);
    ck_assert_int_eq(answer, ANSWER_WAIT);
    usleep(5000);
    ck_assert_int_eq(study_next(&other, &COUNTED, &c, &later, &answer), OK);
    ck_assert_int_eq(answer, ANSWER_GO);
    ck_assert_int_eq(later.claim.generation, 2);
    ck_assert_int_eq(claim_check(&s, &k.claim), E_STOPPED);
    struct trial t = k.trial;
    t.state = TRIAL_FAILED;
    ck_assert_int_eq(study_end(&s, &k.claim, &t), E_STOPPED);
    work_on(&other, &later);
    ck_assert_int_eq(study_history(&s, &h), OK);
    ck_assert_int_eq(h.trial[0].state, TRIAL_DONE);
    claim_give_back(&k.claim);
    study_close(&s);
    study_close(&other);
    remove_folder();
}
END_TEST

START_TEST(a_trial_that_kills_its_workers_has_failed_and_the_others_go_on)
{
    struct counting c = {.most = 3};
    struct study s;
    struct history h;
    int status;
    make_folder();
    for (int i = 0; i < 2; i++) {
        pid_t pid = start_worker(&c, 60, 1, SIGKILL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    }
    open_study(&s, 60, 2);
    struct task k;
    enum answer answer = ANSWER_GO;
    for (;;) {
        ck_assert_int_eq(study_next(&s, &COUNTED, &c, &k, &answer), OK);
        if (answer != ANSWER_GO)
            break;
        work_on(&s, &k);
    }
    ck_assert_int_eq(answer, ANSWER_STOP);
    ck_assert_int_eq(study_history(&s, &h), OK);
    ck_assert_int_eq(h.trial[0].state, TRIAL_FAILED);
    ck_assert_ptr_nonnull(strstr(h.trial[0].why, "died 2 times"));
    ck_assert_int_eq(h.trial[1].state, TRIAL_DONE);
    ck_assert_int_eq(h.trial[2].state, TRIAL_DONE);
    study_close(&s);
    remove_folder();
}
END_TEST

static void write_text(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_assert_int_eq(fs_write_file(path, text, strlen(text)), OK);
}

START_TEST(other_studies_and_damaged_files_are_refused_by_name)
{
    struct counting c = {.most = 1};
    struct study s;
    struct history h;
    struct task k;
    enum answer answer;
    make_folder();
    open_study(&s, 60, 3);
    ck_assert_int_eq(study_next(&s, &COUNTED, &c, &k, &answer), OK);
    work_on(&s, &k);
    study_close(&s);
    ck_assert_int_eq(study_open(&s, folder, "search", "optimizer.lr: 0.02\n", 60, 3), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "optimizer.lr was 0.01 and is 0.02"));
    ck_assert_int_eq(study_open(&s, folder, "study", JOB, 60, 3), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "study.dir"));
    ck_assert_int_eq(
        study_open(&s, folder, "search", "optimizer.lr: 0.01\nsearch.trials: 99\n", 60, 3), OK);
    write_text("trials/000000/end.json", "{\"format\": 1, \"state\": \"do");
    ck_assert_int_eq(study_history(&s, &h), E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "end.json"));
    study_close(&s);
    write_text("study.json", "{\"format\": 7}");
    ck_assert_int_eq(study_read(&s, folder), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "format 7"));
    remove_folder();
    make_folder();
    ck_assert_int_eq(study_read(&s, folder), E_DATA);
    remove_folder();
}
END_TEST

START_TEST(plans_and_outcomes_read_back_as_they_were)
{
    struct study s;
    struct history h;
    bool taken;
    struct setting set[2] = {{"optimizer.lr", "0.003"}, {"optimizer.name", "adamw"}};
    double milestones[2] = {1e6, 3e6 + 1. / 3};
    const struct trial_plan plan = {.set = set,
                                    .n_set = 2,
                                    .milestones = milestones,
                                    .n_milestones = 2,
                                    .target = 2.1,
                                    .most_tokens = 1e9,
                                    .validations = 50,
                                    .parent = 4,
                                    .parent_tokens = 1e5,
                                    .origin = "runs/a \"b\"",
                                    .role = "cell"};
    make_folder();
    open_study(&s, 60, 3);
    ck_assert_int_eq(study_add(&s, 0, &plan, &taken), OK);
    ck_assert(!taken);
    ck_assert_int_eq(study_add(&s, 0, &plan, &taken), OK);
    ck_assert(taken);
    ck_assert_int_eq(study_history(&s, &h), OK);
    ck_assert_int_eq(h.n, 1);
    const struct trial_plan *p = &h.trial[0].plan;
    ck_assert_str_eq(trial_setting(p, "optimizer.lr"), "0.003");
    ck_assert_ptr_null(trial_setting(p, "optimizer.eps"));
    ck_assert(p->milestones[1] == milestones[1] && p->n_milestones == 2);
    ck_assert(p->target == 2.1 && p->most_tokens == 1e9 && p->validations == 50);
    ck_assert(p->parent == 4 && p->parent_tokens == 1e5);
    ck_assert_str_eq(p->origin, plan.origin);
    ck_assert_str_eq(p->role, "cell");
    struct claim c;
    bool got;
    ck_assert_int_eq(claim_take(&s, &h.trial[0], &c, &got), OK);
    ck_assert(got);
    struct trial t = h.trial[0];
    struct curve_point curve[2] = {{1, 64, 4.2, 0.5}, {2, 128, NAN, 1. / 3}};
    t.curve = curve;
    t.n_curve = 2;
    t.state = TRIAL_DIVERGED;
    t.value = NAN;
    t.tokens = 128;
    snprintf(t.why, sizeof t.why, "the loss rose");
    ck_assert_int_eq(study_end(&s, &c, &t), OK);
    claim_give_back(&c);
    ck_assert_int_eq(study_history(&s, &h), OK);
    const struct trial *e = &h.trial[0];
    ck_assert_int_eq(e->state, TRIAL_DIVERGED);
    ck_assert(isnan(e->value) && e->tokens == 128 && e->n_curve == 2);
    ck_assert(e->curve[0].loss == 4.2 && isnan(e->curve[1].loss) && e->curve[1].train_s == 1. / 3);
    ck_assert_str_eq(e->why, "the loss rose");
    study_close(&s);
    remove_folder();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, plans_and_outcomes_read_back_as_they_were);
    tcase_add_test(t, other_studies_and_damaged_files_are_refused_by_name);
    tcase_add_test(t, a_stopped_worker_publishes_nothing_once_it_was_taken_over);
    tcase_add_test(t, a_trial_that_kills_its_workers_has_failed_and_the_others_go_on);
    tcase_add_test(t, many_workers_lose_and_repeat_no_trial);
}

int main(void)
{
    return run_suite("study/folder", add);
}
