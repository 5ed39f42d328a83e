/* Trials as runs: where they pause and end, what they start from, and what becomes of bad ones; the
 * same bits on any ranks, however often they are interrupted.
 * ranks: 1 2 3 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "study/trial_parts.h"
#include "study/worker.h"
#include "train/tiny_run.h"

#include <math.h>

enum { STEPS = 24, STEP_TOKENS = TINY_BATCH * TINY_T };
#define NEVER_STALE 1e6 /* s */

static struct study study;

/* ---- studies and tasks: root has them ---- */

static void open_study(const char *name, int steps, const char *extra)
{
    struct config c;
    char lines[2048], dir[FS_PATH_MAX], *text;
    if (ck_world.rank != 0)
        return;
    snprintf(lines, sizeof lines,
             "batch.global: %d\nbatch.micro: 2\nbatch.seq_len: %d\ntrain.steps: %d\n"
             "optimizer.lr: 3e-3\nmodel.width: 36\nmodel.ffn: 50\nmodel.layers: 2\n"
             "validate.samples: 4\nvalidate.every: 1000\ncheckpoint.every: 7\n%s",
             TINY_BATCH, TINY_T, steps, extra);
    tiny_load(&c, "unused", lines);
    ck_assert_int_eq(conf_text(&c, NULL, &text), OK);
    ck_assert_int_eq(fs_join(dir, ck_folder(), name), OK);
    ck_assert_msg(study_open(&study, dir, "search", text, NEVER_STALE, 3) == OK, "%s",
                  err_message());
    mem_free(text);
}

static void close_study(void)
{
    if (ck_world.rank == 0)
        study_close(&study);
}

/* Adds a trial and claims it, to run to its milestone. */
static void claim(struct task *task, int number, int milestone)
{
    struct history h;
    bool got = false;
    *task = (struct task){.milestone = milestone};
    if (ck_world.rank != 0)
        return;
    ck_assert_int_eq(study_history(&study, &h), OK);
    ck_assert_int_lt(number, h.n);
    ck_assert_int_eq(claim_take(&study, &h.trial[number], &task->claim, &got), OK);
    ck_assert(got);
    task->trial = h.trial[number];
}

static int add(struct trial_plan *plan, const char *key, const char *value)
{
    struct setting set = {0};
    struct history h;
    bool taken;
    int number = 0;
    if (ck_world.rank == 0) {
        ck_assert_int_eq(study_history(&study, &h), OK);
        snprintf(set.key, sizeof set.key, "%s", key);
        snprintf(set.value, sizeof set.value, "%s", value);
        plan->set = &set;
        plan->n_set = *key != '\0';
        number = h.n;
        ck_assert_int_eq(study_add(&study, number, plan, &taken), OK);
        ck_assert(!taken);
    }
    return number;
}

static enum trial_outcome run_on(const struct comm *c, struct task *task,
                                 void (*step)(void *, const struct trial *, double))
{
    enum trial_outcome outcome;
    const struct trial_setup setup = {.comm = c,
                                      .study = c->rank == 0 ? &study : NULL,
                                      .begun_s = clock_now_s(),
                                      .keeps_milestones = true,
                                      .step = step,
                                      .ctx = task};
    ck_all(c, trial_run(&setup, task, &outcome) == OK);
    return outcome;
}

static enum trial_outcome run(struct task *task)
{
    return run_on(&ck_world, task, NULL);
}

static void done_with(struct task *task)
{
    if (ck_world.rank == 0)
        claim_give_back(&task->claim);
    MEM_FREE(task->trial.curve);
}

/* ---- what is compared ---- */

static double *losses_of(int number, int64_t *n)
{
    char dir[FS_PATH_MAX];
    double *rows, *loss;
    int64_t bad;
    ck_assert_int_eq(trial_path(dir, &study, number), OK);
    ck_assert_int_eq(fs_join(dir, dir, "run"), OK);
    ck_assert_int_eq(metrics_read(dir, &rows, n, &bad), OK);
    ck_assert_int_eq(mem_alloc(&loss, (size_t)*n, sizeof *loss, "losses"), OK);
    for (int64_t i = 0; i < *n; i++)
        loss[i] = rows[i * M_N + M_LOSS];
    mem_free(rows);
    return loss;
}

/* The last n training losses of both, bit for bit. */
static void same_losses(int a, int b, int64_t n)
{
    int64_t na, nb;
    if (ck_world.rank != 0)
        return;
    double *x = losses_of(a, &na), *y = losses_of(b, &nb);
    ck_assert_int_ge(na, n);
    ck_assert_int_ge(nb, n);
    ck_assert_mem_eq(x + na - n, y + nb - n, (size_t)n * sizeof *x);
    mem_free(x);
    mem_free(y);
}

static void same_curves(const struct trial *a, const struct trial *b)
{
    if (ck_world.rank != 0)
        return;
    ck_assert_int_eq(a->n_curve, b->n_curve);
    for (int i = 0; i < a->n_curve; i++) {
        ck_assert_double_eq(a->curve[i].step, b->curve[i].step);
        ck_assert_double_eq(a->curve[i].tokens, b->curve[i].tokens);
        ck_assert_double_eq(a->curve[i].loss, b->curve[i].loss);
    }
}

/* ---- tests ---- */

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

START_TEST(looks_are_even_over_a_run_and_geometric_towards_a_target)
{
    const struct trial_goal even = {
        .milestone = INFINITY, .most_tokens = INFINITY, .validations = 4};
    const struct trial_goal pause = {.milestone = 1000, .most_tokens = INFINITY};
    const struct trial_goal aim = {.milestone = INFINITY,
                                   .most_tokens = INFINITY,
                                   .target = 2.0,
                                   .watch = 2.4,
                                   .validations = 4};
    int n_even = 0, n_aim = 0, last = 0;
    for (int i = 1; i <= 22; i++) {
        struct trial_place before = {i - 1, (i - 1) * 300.0}, at = {i, i * 300.0};
        n_even += goal_wants_loss(&even, &before, &at, 22, 9);
        ck_assert(!goal_wants_loss(&aim, &before, &at, 22, 2.91));
        if (goal_wants_loss(&aim, &before, &at, 22, 2.89)) {
            ck_assert_int_eq(i - last, last < 8 ? 1 : last / 4);
            last = i;
            n_aim++;
        }
        ck_assert_int_eq(goal_wants_loss(&pause, &before, &at, 22, 9), i == 4);
        ck_assert_int_eq(goal_is_reached(&pause, &at, NAN), i >= 4);
    }
    ck_assert_int_eq(n_even, 4);
    ck_assert_int_gt(n_aim, 10);
}
END_TEST

/* To each milestone by a run of its own, as workers do. */
static void run_in_parts(struct task *task, int number, int n_milestones)
{
    for (int m = 0; m <= n_milestones; m++) {
        claim(task, number, m);
        enum trial_outcome outcome = run(task);
        ck_assert_int_eq(outcome, m < n_milestones ? OUTCOME_REACHED : OUTCOME_ENDED);
        if (m < n_milestones)
            done_with(task);
    }
}

START_TEST(pauses_change_nothing)
{
    double milestone[] = {5.5 * STEP_TOKENS, 13 * STEP_TOKENS};
    struct trial_plan whole = {.parent = -1}, parts = {.parent = -1};
    struct task a, b;
    parts.milestones = milestone;
    parts.n_milestones = 2;
    open_study("pauses", STEPS, "");
    claim(&a, add(&whole, "optimizer.lr", "4e-3"), 0);
    ck_assert_int_eq(run(&a), OUTCOME_ENDED);
    run_in_parts(&b, add(&parts, "optimizer.lr", "4e-3"), 2);
    same_losses(0, 1, STEPS);
    if (ck_world.rank == 0) {
        ck_assert_int_eq(a.trial.state, TRIAL_DONE);
        ck_assert_int_eq(b.trial.n_curve, 3);
        ck_assert_double_eq(b.trial.curve[0].step, 6);
        ck_assert_double_eq(b.trial.curve[1].step, 13);
        ck_assert_double_eq(b.trial.curve[1].tokens, 13 * STEP_TOKENS);
        ck_assert_double_eq(a.trial.value, b.trial.value);
        ck_assert_double_eq(b.trial.steps, STEPS);
        ck_assert_double_eq(b.trial.ranks, ck_world.size);
        ck_assert(b.trial.train_s > 0 && b.trial.step_s > 0);
    }
    done_with(&a);
    done_with(&b);
    close_study();
}
END_TEST

/* Asks for the run's end as a user would. */
static void stop_at_ten(void *ctx, const struct trial *t, double n_steps)
{
    char path[FS_PATH_MAX];
    (void)ctx;
    ck_assert_double_eq(n_steps, STEPS);
    if (t->steps != 10)
        return;
    ck_assert_int_eq(trial_path(path, &study, t->number), OK);
    ck_assert_int_eq(fs_join(path, path, "run/stop"), OK);
    ck_assert_int_eq(fs_write_file(path, "", 0), OK);
}

START_TEST(what_was_stopped_goes_on_on_any_ranks)
{
    struct trial_plan plan = {.parent = -1, .validations = 5}, same = plan;
    struct task a, b;
    struct comm one;
    open_study("stops", STEPS, "");
    claim(&a, add(&plan, "", ""), 0);
    ck_assert_int_eq(run(&a), OUTCOME_ENDED);
    int number = add(&same, "", "");
    claim(&b, number, 0);
    ck_assert_int_eq(run_on(&ck_world, &b, stop_at_ten), OUTCOME_STOPPED);
    done_with(&b);
    ck_all(&ck_world, comm_first(&one, &ck_world, 1) == OK);
    claim(&b, number, 0);
    if (one.size > 0)
        ck_assert_int_eq(run_on(&one, &b, NULL), OUTCOME_ENDED);
    comm_end(&one);
    same_losses(0, number, STEPS);
    same_curves(&a.trial, &b.trial);
    if (ck_world.rank == 0)
        ck_assert_int_eq(b.trial.n_curve, 5);
    done_with(&a);
    done_with(&b);
    close_study();
}
END_TEST

START_TEST(a_target_ends_a_trial)
{
    struct trial_plan far = {.parent = -1}, plan = {.parent = -1, .validations = 20}, again;
    struct task a, b;
    open_study("target", 60, "");
    claim(&a, add(&far, "optimizer.lr", "1e-2"), 0);
    ck_assert_int_eq(run(&a), OUTCOME_ENDED);
    plan.target = a.trial.value + 0.5;
    plan.most_tokens = 60 * STEP_TOKENS;
    again = plan;
    again.most_tokens = 4 * STEP_TOKENS;
    int number = add(&plan, "optimizer.lr", "1e-2");
    claim(&b, number, 0);
    ck_assert_int_eq(run(&b), OUTCOME_ENDED);
    double steps = b.trial.steps, value = b.trial.value;
    if (ck_world.rank == 0) {
        ck_assert_int_eq(b.trial.state, TRIAL_DONE);
        ck_assert_str_eq(b.trial.why, "");
        ck_assert_double_le(value, plan.target);
        ck_assert_double_lt(steps, 60);
        ck_assert_int_gt(b.trial.n_curve, 1);
        ck_assert_double_gt(b.trial.curve[b.trial.n_curve - 2].loss, plan.target);
    }
    done_with(&b);
    /* A worker that died before it published: nothing is trained again. */
    claim(&b, number, 0);
    ck_assert_int_eq(run(&b), OUTCOME_ENDED);
    if (ck_world.rank == 0) {
        ck_assert_double_eq(b.trial.steps, steps);
        ck_assert_double_eq(b.trial.value, value);
    }
    done_with(&b);
    claim(&b, add(&again, "optimizer.lr", "1e-2"), 0);
    ck_assert_int_eq(run(&b), OUTCOME_ENDED);
    if (ck_world.rank == 0) {
        ck_assert_double_eq(b.trial.steps, 4);
        ck_assert_ptr_nonnull(strstr(b.trial.why, "target"));
    }
    done_with(&a);
    done_with(&b);
    close_study();
}
END_TEST

START_TEST(a_trial_goes_on_from_its_parent)
{
    double milestone[] = {9.5 * STEP_TOKENS};
    struct trial_plan first = {.parent = -1}, plan = {.parent_tokens = 9.5 * STEP_TOKENS};
    struct trial_plan other = plan, wide = plan;
    struct task a, b;
    first.milestones = milestone;
    first.n_milestones = 1;
    open_study("parents", STEPS, "");
    int number = add(&first, "optimizer.lr", "4e-3");
    run_in_parts(&a, number, 1);
    plan.parent = other.parent = wide.parent = number;
    claim(&b, add(&plan, "optimizer.lr", "4e-3"), 0);
    ck_assert_int_eq(run(&b), OUTCOME_ENDED);
    same_losses(number, 1, STEPS - 10);
    if (ck_world.rank == 0) {
        ck_assert_double_eq(a.trial.value, b.trial.value);
        ck_assert_double_eq(b.trial.tokens, STEPS * STEP_TOKENS);
        ck_assert_double_lt(b.trial.train_s, 1e3);
    }
    done_with(&b);
    claim(&b, add(&other, "optimizer.lr", "1e-3"), 0);
    ck_assert_int_eq(run(&b), OUTCOME_ENDED);
    if (ck_world.rank == 0)
        ck_assert_double_ne(a.trial.value, b.trial.value);
    done_with(&b);
    claim(&b, add(&wide, "model.width", "40"), 0);
    ck_assert_int_eq(run(&b), OUTCOME_ENDED);
    if (ck_world.rank == 0) {
        ck_assert_int_eq(b.trial.state, TRIAL_FAILED);
        ck_assert_ptr_nonnull(strstr(b.trial.why, "model.width"));
    }
    done_with(&a);
    done_with(&b);
    close_study();
}
END_TEST

START_TEST(bad_trials_end_and_say_why)
{
    static const struct {
        const char *key, *value, *says;
        enum trial_state state;
    } rows[] = {{"optimizer.lr", "1000", "loss", TRIAL_DIVERGED},
                {"model.kv_heads", "3", "kv_heads", TRIAL_FAILED},
                {"data.train", "/nowhere.h5", "/nowhere.h5", TRIAL_FAILED},
                {"run.dir", "/tmp", "run.dir", TRIAL_FAILED}};
    open_study("bad", STEPS, "optimizer.clip_norm: 0\nmonitor.nonfinite: stop\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trial_plan plan = {.parent = -1};
        struct task a;
        claim(&a, add(&plan, rows[i].key, rows[i].value), 0);
        ck_assert_int_eq(run(&a), OUTCOME_ENDED);
        if (ck_world.rank == 0) {
            ck_assert_int_eq(a.trial.state, rows[i].state);
            ck_assert_msg(strstr(a.trial.why, rows[i].says) != NULL, "%s", a.trial.why);
        }
        done_with(&a);
    }
    close_study();
}
END_TEST

/* Another worker's claim, newer than ours. */
static void lose_at_five(void *ctx, const struct trial *t, double n_steps)
{
    const struct task *task = ctx;
    char path[FS_PATH_MAX];
    (void)n_steps;
    if (t->steps != 5)
        return;
    snprintf(path, sizeof path, "%.*s-%04d", (int)strlen(task->claim.path) - 5, task->claim.path,
             task->claim.generation + 1);
    ck_assert_int_eq(fs_write_file(path, "", 0), OK);
}

START_TEST(a_lost_claim_ends_a_trial_without_a_result)
{
    struct trial_plan plan = {.parent = -1};
    struct task a;
    open_study("lost", 100000, "");
    if (ck_world.rank == 0)
        study.stale_s = 0; /* the claim is looked at after each step */
    claim(&a, add(&plan, "", ""), 0);
    ck_assert_int_eq(run_on(&ck_world, &a, lose_at_five), OUTCOME_LOST);
    done_with(&a);
    close_study();
}
END_TEST

/* ---- workers ---- */

static const char *const RATES[] = {"1e-3", "3e-3", "1e-2", "1000"};
enum { N_RATES = sizeof RATES / sizeof RATES[0] };

static int open_rates(void **self, const struct study *s, const struct config *job)
{
    (void)s, (void)job;
    *self = NULL;
    return OK;
}

static int propose_rate(void *self, const struct history *h, struct trial_plan *plan,
                        enum answer *answer)
{
    (void)self;
    *answer = h->n < N_RATES ? ANSWER_GO : ANSWER_STOP;
    plan->parent = -1;
    if (*answer != ANSWER_GO)
        return OK;
    TRY(mem_alloc(&plan->set, 1, sizeof *plan->set, "settings"));
    plan->n_set = 1;
    snprintf(plan->set[0].key, sizeof plan->set[0].key, "optimizer.lr");
    snprintf(plan->set[0].value, sizeof plan->set[0].value, "%s", RATES[h->n]);
    return OK;
}

static int always(void *self, const struct history *h, int i, int k, enum answer *answer, char *why)
{
    (void)self, (void)h, (void)i, (void)k, (void)why;
    *answer = ANSWER_GO;
    return OK;
}

static const struct planner PLANNER = {
    .kind = "search", .open = open_rates, .propose = propose_rate, .judge = always};

/* All ranks as workers of `per` on a study of their own. */
static void work(const char *name, int per, double value[N_RATES])
{
    struct comm group;
    struct history h;
    open_study(name, 8, "optimizer.clip_norm: 0\nmonitor.nonfinite: stop\n");
    ck_all(&ck_world, comm_groups(&group, &ck_world, per) == OK);
    struct study own = {0};
    struct worker w = {.comm = &group, .begun_s = clock_now_s(), .keep = "best"};
    char dir[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(dir, ck_folder(), name), OK);
    MPI_Barrier(ck_world.world);
    if (group.size > 0 && group.rank == 0) {
        ck_assert_int_eq(study_read(&own, dir), OK);
        w.study = &own;
        w.planner = &PLANNER;
    }
    /* A worker's root keeps logs, whatever its rank in the world. */
    log_set_rank(group.rank, "");
    ck_all(&ck_world, group.size == 0 || worker_run(&w) == OK);
    log_set_rank(ck_world.rank, ck_world.host);
    if (w.study != NULL) {
        ck_assert_int_eq(study_history(&own, &h), OK);
        ck_assert_int_eq(h.n, N_RATES);
        for (int i = 0; i < N_RATES; i++) {
            ck_assert_int_eq(h.trial[i].state, i < N_RATES - 1 ? TRIAL_DONE : TRIAL_DIVERGED);
            value[i] = h.trial[i].value;
        }
        study_close(&own);
    }
    comm_end(&group);
    close_study();
}

static bool has_checkpoint(const char *name, int trial)
{
    char path[FS_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/trials/%06d/run/checkpoints/step-000000008.h5", ck_folder(),
             name, trial);
    return fs_exists(path);
}

START_TEST(workers_side_by_side_come_to_the_same)
{
    double all[N_RATES], each[N_RATES];
    work("together", ck_world.size, all);
    work("apart", 1, each);
    MPI_Barrier(ck_world.world);
    if (ck_world.rank != 0)
        return;
    int best = 0;
    for (int i = 0; i < N_RATES - 1; i++) {
        ck_assert_double_eq(all[i], each[i]);
        best = all[i] < all[best] ? i : best;
    }
    for (int i = 0; i < N_RATES; i++) {
        ck_assert_int_eq(has_checkpoint("together", i), i == best);
        ck_assert_int_eq(has_checkpoint("apart", i), i == best);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, looks_are_even_over_a_run_and_geometric_towards_a_target);
    tcase_add_test(t, pauses_change_nothing);
    tcase_add_test(t, what_was_stopped_goes_on_on_any_ranks);
    tcase_add_test(t, a_target_ends_a_trial);
    tcase_add_test(t, a_trial_goes_on_from_its_parent);
    tcase_add_test(t, bad_trials_end_and_say_why);
    tcase_add_test(t, a_lost_claim_ends_a_trial_without_a_result);
    tcase_add_test(t, workers_side_by_side_come_to_the_same);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "study/trial", add_tests);
}
