/* A study's folder: what is published once stays once, whoever races, dies or sleeps. */
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/mem.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/planner.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_S     1e6 /* no claim becomes stale by itself */
#define ATTEMPTS   3
#define CLAIM_HELD "00000000000000000000 held    \n"

static char root[64];

static void fresh_root(void)
{
    const char *shm = "/dev/shm";
    snprintf(root, sizeof root, "%s/carat-folder-XXXXXX", access(shm, W_OK) == 0 ? shm : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void remove_root(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static const char *at(const char *name)
{
    static char path[4][FS_PATH_MAX];
    static int i;
    i = (i + 1) % 4;
    ck_assert_int_eq(fs_join(path[i], root, name), OK);
    return path[i];
}

/* A job as text, with one setting. */
static char *job_text(const char *setting)
{
    struct config c;
    struct conf_origins o;
    char *text, copy[256], *overrides[] = {copy};
    snprintf(copy, sizeof copy, "%s", setting);
    ck_assert_int_eq(conf_load(&c, &o, NULL, overrides, 1), OK);
    ck_assert_int_eq(conf_text(&c, NULL, &text), OK);
    return text;
}

static int open_study(struct study *s, const char *setting, double stale_s)
{
    char *text = job_text(setting);
    int rc = study_open(s, root, "search", text, stale_s, ATTEMPTS);
    mem_free(text);
    return rc;
}

static void must_open(struct study *s)
{
    ck_assert_int_eq(open_study(s, "optimizer.lr=0.003", LONG_S), OK);
}

/* A plan with a setting and one milestone. */
static struct trial_plan a_plan(struct setting *set, double *milestone)
{
    *milestone = 1e6 + 1.0 / 3;
    snprintf(set->key, sizeof set->key, "optimizer.lr");
    snprintf(set->value, sizeof set->value, "0.0017");
    return (struct trial_plan){.set = set,
                               .n_set = 1,
                               .milestones = milestone,
                               .n_milestones = 1,
                               .target = 2.5,
                               .most_tokens = 3e7,
                               .validations = 5,
                               .parent = 4,
                               .parent_tokens = 1e5,
                               .origin = "runs/a \"b\"",
                               .role = "cell"};
}

static void must_add(const struct study *s, int number)
{
    struct setting set = {0};
    double milestone;
    bool taken;
    struct trial_plan plan = a_plan(&set, &milestone);
    ck_assert_int_eq(study_add(s, number, &plan, &taken), OK);
    ck_assert(!taken);
}

static struct trial first_trial(struct study *s)
{
    struct history h;
    ck_assert_int_eq(study_history(s, &h), OK);
    ck_assert_int_gt(h.n, 0);
    return h.trial[0]; /* with arrays of the study */
}

static void write_text(const char *name, const char *text)
{
    ck_assert_int_eq(fs_write_file(at(name), text, strlen(text)), OK);
}

START_TEST(what_is_published_is_read_back)
{
    struct study s;
    struct claim c;
    bool got;
    fresh_root();
    must_open(&s);
    ck_assert(study_is_folder(root));
    must_add(&s, 0);
    struct trial t = first_trial(&s);
    ck_assert_int_eq(t.state, TRIAL_WAITING);
    ck_assert_str_eq(trial_setting(&t.plan, "optimizer.lr"), "0.0017");
    ck_assert_ptr_null(trial_setting(&t.plan, "batch.global"));
    ck_assert(t.plan.milestones[0] == 1e6 + 1.0 / 3 && t.plan.target == 2.5 &&
              t.plan.most_tokens == 3e7);
    ck_assert_int_eq(t.plan.validations, 5);
    ck_assert(t.plan.parent == 4 && t.plan.parent_tokens == 1e5);
    ck_assert_str_eq(t.plan.origin, "runs/a \"b\"");
    ck_assert_str_eq(t.plan.role, "cell");
    ck_assert(isnan(t.value));

    ck_assert_int_eq(claim_take(&s, &t, &c, &got), OK);
    ck_assert(got);
    struct curve_point curve[] = {{10, 1e6, 3.25, 0.1}, {20, 2e6, 1.0 / 3, 0.2}};
    t.curve = curve;
    t.n_curve = 1;
    t.value = 3.25;
    ck_assert_int_eq(study_reached(&s, &c, &t), OK);
    struct trial seen = first_trial(&s);
    ck_assert_int_eq(seen.state, TRIAL_RUNNING);
    ck_assert_int_eq(seen.n_reached, 1);
    ck_assert_int_eq(seen.n_curve, 1);
    ck_assert(seen.value == 3.25);

    t.n_curve = 2;
    t.value = 1.0 / 3;
    t.noise_scale = NAN;
    t.state = TRIAL_DONE;
    ck_assert_int_eq(study_end(&s, &c, &t), OK);
    claim_give_back(&c);
    seen = first_trial(&s);
    ck_assert_int_eq(seen.state, TRIAL_DONE);
    ck_assert(seen.value == 1.0 / 3 && seen.curve[1].loss == 1.0 / 3 && isnan(seen.noise_scale));
    study_close(&s);

    /* The same by another that reads it for the first time. */
    ck_assert_int_eq(study_read(&s, root), OK);
    ck_assert_str_eq(s.kind, "search");
    seen = first_trial(&s);
    ck_assert_int_eq(seen.state, TRIAL_DONE);
    ck_assert_int_eq(seen.claims, 1);
    ck_assert(seen.value == 1.0 / 3);
    study_close(&s);
    remove_root();
}
END_TEST

static void must_claim(struct study *s, struct claim *c, bool expected)
{
    bool got;
    struct trial t = first_trial(s);
    ck_assert_int_eq(claim_take(s, &t, c, &got), OK);
    ck_assert_int_eq(got, expected);
}

START_TEST(a_claim_is_one_worker_s)
{
    struct study s, other;
    struct claim c, d;
    fresh_root();
    must_open(&s);
    must_open(&other);
    must_add(&s, 0);
    must_claim(&s, &c, true);
    must_claim(&other, &d, false);
    ck_assert_int_eq(claim_check(&s, &c), OK);
    claim_give_back(&c);
    must_claim(&other, &d, true); /* given back: waits for anyone, and nobody has died */
    ck_assert_int_eq(d.generation, 2);
    claim_give_back(&d);
    for (int i = 0; i < 2 * ATTEMPTS; i++) {
        must_claim(&s, &c, true);
        claim_give_back(&c);
    }
    study_close(&s);
    study_close(&other);
    remove_root();
}
END_TEST

/* A child claims trial 0 and then does what `then` says. */
enum then { DIES, SLEEPS };
static pid_t claim_in_child(enum then then, double stale_s)
{
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct study s;
        struct claim c;
        bool got = false;
        if (open_study(&s, "optimizer.lr=0.003", stale_s) == OK) {
            struct trial t = first_trial(&s);
            if (claim_take(&s, &t, &c, &got) == OK && got && write(ready[1], "x", 1) == 1)
                raise(then == DIES ? SIGKILL : SIGSTOP);
            t.state = TRIAL_DONE;
            if (claim_check(&s, &c) == E_STOPPED && study_end(&s, &c, &t) == E_STOPPED)
                _exit(0); /* knows that it lost the trial */
        }
        _exit(1);
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static int propose_none(void *self, const struct history *h, struct trial_plan *plan,
                        enum answer *answer)
{
    (void)self;
    (void)h;
    (void)plan;
    *answer = ANSWER_STOP;
    return OK;
}

START_TEST(a_dead_worker_s_trial_goes_on_at_once_and_fails_after_some)
{
    const struct planner none = {.kind = "search", .propose = propose_none};
    struct study s;
    struct task task;
    enum answer answer;
    fresh_root();
    must_open(&s);
    must_add(&s, 0);
    must_add(&s, 1);
    for (int i = 0; i < ATTEMPTS; i++)
        waitpid(claim_in_child(DIES, LONG_S), NULL, 0);
    struct trial t = first_trial(&s);
    ck_assert_int_eq(t.state, TRIAL_RUNNING);
    ck_assert_int_eq(t.claims, ATTEMPTS);
    ck_assert_int_eq(study_next(&s, &none, NULL, &task, &answer), OK);
    t = first_trial(&s);
    ck_assert_int_eq(t.state, TRIAL_FAILED);
    ck_assert_ptr_nonnull(strstr(t.why, "died 3 times"));
    ck_assert_int_eq(answer, ANSWER_GO);
    ck_assert_int_eq(task.trial.number, 1);
    claim_give_back(&task.claim);
    study_close(&s);
    remove_root();
}
END_TEST

/* A worker that saved a checkpoint before it died does not tell against its trial. */
START_TEST(deaths_on_the_way_do_not_add_up)
{
    const struct planner none = {.kind = "search", .propose = propose_none};
    struct study s;
    struct task task;
    enum answer answer;
    char name[80];
    fresh_root();
    must_open(&s);
    must_add(&s, 0);
    ck_assert_int_eq(fs_mkdirs(at("trials/000000/run/checkpoints")), OK);
    for (int i = 0; i < 2 * ATTEMPTS; i++) {
        waitpid(claim_in_child(DIES, LONG_S), NULL, 0);
        snprintf(name, sizeof name, "trials/000000/run/checkpoints/step-%09d.h5", i + 1);
        write_text(name, "");
    }
    ck_assert_int_eq(study_next(&s, &none, NULL, &task, &answer), OK);
    ck_assert_int_eq(answer, ANSWER_GO);
    ck_assert_int_eq(task.trial.claims, 2 * ATTEMPTS);
    ck_assert_int_eq(task.trial.deaths, 0);
    claim_give_back(&task.claim);
    study_close(&s);
    remove_root();
}
END_TEST

START_TEST(a_number_that_is_another_process_s_by_now_does_not_count)
{
    struct study s;
    struct claim c;
    char host[64], line[256];
    fresh_root();
    must_open(&s);
    must_add(&s, 0);
    gethostname(host, sizeof host);
    /* This process's number, but one that began at another time. */
    snprintf(line, sizeof line, CLAIM_HELD "%s %ld - 0 1\n", host, (long)getpid());
    write_text("trials/000000/claim-0001", line);
    must_claim(&s, &c, true);
    claim_give_back(&c);
    /* Another host's: alive until it has been silent for long. */
    write_text("trials/000000/claim-0003", CLAIM_HELD "elsewhere 1 - 0 1\n");
    must_claim(&s, &c, false);
    study_close(&s);
    remove_root();
}
END_TEST

START_TEST(a_silent_worker_is_replaced_and_publishes_nothing_more)
{
    const double stale_s = 0.4;
    struct study s;
    struct claim c;
    bool got = false;
    int status;
    fresh_root();
    ck_assert_int_eq(open_study(&s, "optimizer.lr=0.003", stale_s), OK);
    must_add(&s, 0);
    pid_t pid = claim_in_child(SLEEPS, stale_s);
    struct trial t = first_trial(&s);
    ck_assert_int_eq(claim_take(&s, &t, &c, &got), OK);
    ck_assert(!got); /* this process has not watched it for long enough */
    for (int i = 0; i < 500 && !got; i++) {
        usleep(10000);
        t = first_trial(&s);
        ck_assert_int_eq(claim_take(&s, &t, &c, &got), OK);
    }
    ck_assert(got);
    kill(pid, SIGCONT);
    waitpid(pid, &status, 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(first_trial(&s).state, TRIAL_RUNNING);
    t.state = TRIAL_DONE;
    ck_assert_int_eq(study_end(&s, &c, &t), OK);
    claim_give_back(&c);
    study_close(&s);
    remove_root();
}
END_TEST

START_TEST(a_beating_worker_is_left_alone)
{
    const double stale_s = 0.6;
    struct study s, other;
    struct claim c, d;
    fresh_root();
    ck_assert_int_eq(open_study(&s, "optimizer.lr=0.003", stale_s), OK);
    ck_assert_int_eq(open_study(&other, "optimizer.lr=0.003", stale_s), OK);
    must_add(&s, 0);
    must_claim(&s, &c, true);
    for (int i = 0; i < 24; i++) {
        usleep(50000); /* 1.2 s: twice as long as silence may last */
        must_claim(&other, &d, false);
    }
    ck_assert_int_eq(claim_check(&s, &c), OK);
    claim_give_back(&c);
    study_close(&s);
    study_close(&other);
    remove_root();
}
END_TEST

/* ---- refusals ---- */

static void must_refuse(int code, int rc, const char *word)
{
    ck_assert_msg(rc == code && strstr(err_message(), word) != NULL,
                  "got %d \"%s\", not %d with \"%s\"", rc, err_message(), code, word);
}

START_TEST(other_studies_are_refused)
{
    struct study s;
    char *text = job_text("optimizer.lr=0.003");
    fresh_root();
    must_refuse(E_DATA, study_read(&s, root), "study.json");
    must_open(&s);
    study_close(&s);
    must_refuse(E_CONFIG, open_study(&s, "optimizer.lr=0.004", LONG_S),
                "optimizer.lr was 0.003 and is 0.004");
    must_refuse(E_CONFIG, open_study(&s, "search.rule=grid", LONG_S), "search.rule");
    must_refuse(E_CONFIG, study_open(&s, root, "study", text, LONG_S, ATTEMPTS), "holds a search");
    mem_free(text);
    text = job_text("study.stale=77s"); /* a worker's own */
    char *job = job_text("study.ranks=2");
    remove_root();
    fresh_root();
    ck_assert_int_eq(study_open(&s, root, "search", text, 77, ATTEMPTS), OK);
    study_close(&s);
    ck_assert_int_eq(study_open(&s, root, "search", job, 120, ATTEMPTS), OK);
    ck_assert(s.stale_s == 120);
    study_close(&s);
    mem_free(text);
    mem_free(job);

    write_text("study.json", "{\"format\": 2, \"kind\": \"search\"}");
    must_refuse(E_CONFIG, open_study(&s, "optimizer.lr=0.003", LONG_S), "format 2");
    must_refuse(E_DATA, study_read(&s, root), "format 2");
    remove_root();
}
END_TEST

START_TEST(damaged_files_are_named)
{
    static const struct {
        const char *file, *text, *word;
    } CASES[] = {
        {"trial.json", "{\"format\": 1, \"settings\": {\"optim", "trial.json"},
        {"trial.json", "", "trial.json"},
        {"trial.json", "[1]", "format"},
        {"trial.json", "{\"format\": 1}", "settings is not"},
        {"trial.json", "{\"format\": 9, \"settings\": {}}", "format 9"},
        {"trial.json", "{\"format\": 1, \"settings\": {\"a\": 3}}", "the setting a is not"},
        {"trial.json", "{\"format\": 1, \"settings\": {\"a;b\": \"3\"}}", "a;b is none"},
        {"end.json", "{\"format\": 1, \"state\": \"done\"", "end.json"},
        {"end.json", "{\"format\": 1, \"state\": \"gone\", \"step_tokens_loss_seconds\": []}",
         "gone"},
        {"end.json", "{\"format\": 1, \"state\": \"running\", \"step_tokens_loss_seconds\": []}",
         "no end"},
        {"end.json", "{\"format\": 1, \"state\": \"done\", \"why\": \"\"}",
         "step_tokens_loss_seconds is not"},
        {"end.json", "{\"format\": 1, \"state\": \"done\", \"step_tokens_loss_seconds\": [[1, 2]]}",
         "has 2 numbers"},
        {"reached-0001.json", "{", "reached-0001.json"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct study s;
        struct history h;
        char name[64];
        fresh_root();
        must_open(&s);
        must_add(&s, 0);
        must_add(&s, 1);
        snprintf(name, sizeof name, "trials/000001/%s", CASES[i].file);
        write_text(name, CASES[i].text);
        must_refuse(E_DATA, study_history(&s, &h), CASES[i].word);
        ck_assert_ptr_nonnull(strstr(err_message(), name));
        ck_assert_int_eq(h.n, 0);
        study_close(&s);
        remove_root();
    }
}
END_TEST

START_TEST(a_torn_claim_is_held_until_it_is_old)
{
    struct study s;
    struct claim c;
    bool got = false;
    fresh_root();
    ck_assert_int_eq(open_study(&s, "optimizer.lr=0.003", 0.2), OK);
    must_add(&s, 0);
    write_text("trials/000000/claim-0001", "");
    must_claim(&s, &c, false);
    for (int i = 0; i < 500 && !got; i++) {
        usleep(10000);
        struct trial t = first_trial(&s);
        ck_assert_int_eq(claim_take(&s, &t, &c, &got), OK);
    }
    ck_assert(got);
    claim_give_back(&c);
    study_close(&s);
    remove_root();
}
END_TEST

START_TEST(a_folder_that_is_gone_or_closed_says_so)
{
    struct study s;
    struct history h;
    fresh_root();
    must_open(&s);
    must_add(&s, 0);
    ck_assert_int_eq(rename(at("trials"), at("elsewhere")), 0);
    must_refuse(E_IO, study_history(&s, &h), "gone");
    study_close(&s);
    write_text("trials", "a file");
    must_refuse(E_IO, study_open(&s, at("trials"), "search", "x", LONG_S, 1), "folder");
    remove_root();
}
END_TEST

/* Each step of a publication on a full disk: an error, nothing half done, and later it works. */
START_TEST(a_full_disk_leaves_nothing_half_done)
{
    static const char *const POINTS[] = {"fs.pwrite", "fs.fsync", "fs.link", "study.add"};
    for (size_t i = 0; i < sizeof POINTS / sizeof *POINTS; i++) {
        struct study s;
        struct history h;
        struct claim c;
        struct setting set = {0};
        double milestone;
        bool taken;
        char fault[64];
        fresh_root();
        must_open(&s);
        struct trial_plan plan = a_plan(&set, &milestone);
        snprintf(fault, sizeof fault, "%s:0:1", POINTS[i]);
        setenv("CARAT_FAULT", fault, 1);
        fault_rearm();
        ck_assert_int_eq(study_add(&s, 0, &plan, &taken), E_IO);
        ck_assert_int_eq(study_history(&s, &h), OK);
        ck_assert_int_eq(h.n, 0);
        must_add(&s, 0);
        must_claim(&s, &c, true);
        struct trial t = first_trial(&s);
        t.state = TRIAL_DONE;
        fault_rearm();
        ck_assert_int_eq(study_end(&s, &c, &t), i < 3 ? E_IO : OK);
        ck_assert_int_eq(first_trial(&s).state, i < 3 ? TRIAL_RUNNING : TRIAL_DONE);
        unsetenv("CARAT_FAULT");
        fault_rearm();
        ck_assert_int_eq(study_end(&s, &c, &t), i < 3 ? OK : E_STOPPED);
        claim_give_back(&c);
        study_close(&s);
        remove_root();
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, what_is_published_is_read_back);
    tcase_add_test(t, a_claim_is_one_worker_s);
    tcase_add_test(t, a_dead_worker_s_trial_goes_on_at_once_and_fails_after_some);
    tcase_add_test(t, deaths_on_the_way_do_not_add_up);
    tcase_add_test(t, a_number_that_is_another_process_s_by_now_does_not_count);
    tcase_add_test(t, a_silent_worker_is_replaced_and_publishes_nothing_more);
    tcase_add_test(t, a_beating_worker_is_left_alone);
    tcase_add_test(t, other_studies_are_refused);
    tcase_add_test(t, damaged_files_are_named);
    tcase_add_test(t, a_torn_claim_is_held_until_it_is_old);
    tcase_add_test(t, a_folder_that_is_gone_or_closed_says_so);
    tcase_add_test(t, a_full_disk_leaves_nothing_half_done);
}

int main(void)
{
    return run_suite("study/folder", add);
}
