/* Branches from checkpoints: what they are set to, which batch is harmless, the ramp that follows.
 */
#include "base/err.h"
#include "base/mem.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/branch.h"
#include "train/ramp.h"

#include <math.h>
#include <string.h>

/* 1000 steps of 80 tokens. */
static const char job[] = "run.dir: runs/a\nmodel.preset: gemma3-270m\ndata.train: a.h5\n"
                          "batch: {global: 8, seq_len: 10}\ntrain.steps: 1000\n"
                          "optimizer: {name: adamw, lr: 0.001}\nschedule.warmup: 50 steps\n"
                          "study: {from: '100@8000,300@24000,500@40000', branch: 100 steps}\n";

static struct branch_setup setup;
static struct branch_result result;
static struct trial trial[32];

static struct config load(const char *more)
{
    struct config c;
    struct conf_origins o;
    struct str text = {0};
    str_addf(&text, "%s%s", job, more);
    ck_assert_msg(conf_load_text(&c, &o, text.s, "job.yaml") == OK, "%s", err_message());
    str_release(&text);
    return c;
}

static void open_setup(const char *more)
{
    struct config c = load(more);
    ck_assert_msg(branch_init(&setup, &c) == OK, "%s", err_message());
}

/* Ends trial i with a loss; NaN: it failed, INFINITY: it diverged. */
static void end_trial(int i, double loss)
{
    trial[i] = (struct trial){.number = i, .value = loss, .noise_scale = NAN};
    trial[i].state = isnan(loss) ? TRIAL_FAILED : isinf(loss) ? TRIAL_DIVERGED : TRIAL_DONE;
}

/* Judges rows of four losses each. */
static void judge(int rows, const double loss[][4])
{
    for (int i = 0; i < 4 * rows; i++)
        end_trial(i, loss[i / 4][i % 4]);
    struct history h = {trial, 4 * rows};
    branch_judge(&result, &setup, &h);
}

START_TEST(a_branch_goes_on_with_a_larger_batch)
{
    void *self;
    struct config c = load("");
    struct history h = {trial, 6};
    struct trial_plan plan = {0};
    enum answer answer;
    ck_assert_msg(PLANNER_BRANCH.open(&self, NULL, &c) == OK, "%s", err_message());
    ck_assert_int_eq(PLANNER_BRANCH.propose(self, &h, &plan, &answer), OK);
    ck_assert_int_eq(answer, ANSWER_GO);
    ck_assert_ptr_nonnull(strstr(plan.origin, "runs/a/checkpoints/step-000000300.h5"));
    ck_assert_str_eq(trial_setting(&plan, "batch.global"), "32");
    ck_assert_str_eq(trial_setting(&plan, "scaling.rule"), "sqrt");
    ck_assert_str_eq(trial_setting(&plan, "scaling.base_batch"), "8");
    /* The schedule stays where it is in tokens. */
    ck_assert_str_eq(trial_setting(&plan, "train.tokens"), "80000");
    ck_assert_str_eq(trial_setting(&plan, "schedule.warmup"), "4000 tokens");
    /* 100 steps of 80 tokens, up to whole steps of 64 sequences. */
    ck_assert_double_eq(plan.most_tokens, 24000 + 8320);
    h.n = 12;
    mem_free(plan.set);
    ck_assert_int_eq(PLANNER_BRANCH.propose(self, &h, &plan, &answer), OK);
    ck_assert_int_eq(answer, ANSWER_STOP);
    PLANNER_BRANCH.close(self);
}
END_TEST

START_TEST(a_rule_of_the_run_stays)
{
    struct trial_plan plan = {0};
    struct history h = {trial, 9};
    enum answer answer;
    void *self;
    struct config c = load("scaling: {rule: linear, base_batch: 4}\nbatch.ramp: '0:2 10ktok:8'\n");
    ck_assert_msg(PLANNER_BRANCH.open(&self, NULL, &c) == OK, "%s", err_message());
    ck_assert_int_eq(PLANNER_BRANCH.propose(self, &h, &plan, &answer), OK);
    /* The third checkpoint is past the ramp. */
    ck_assert_str_eq(trial_setting(&plan, "batch.global"), "16");
    ck_assert_str_eq(trial_setting(&plan, "batch.ramp"), "");
    ck_assert_str_eq(trial_setting(&plan, "scaling.rule"), "linear");
    ck_assert_str_eq(trial_setting(&plan, "scaling.base_batch"), "4");
    mem_free(plan.set);
    PLANNER_BRANCH.close(self);
}
END_TEST

START_TEST(harm_is_told_from_noise)
{
    static const double loss[3][4] = {
        {3.00, 3.005, 3.02, 2.9},    /* what comes after harm does not count */
        {2.50, 2.45, 2.459, 2.4605}, /* against the least of smaller ones, not the first */
        {2.40, 2.40, 2.40, 2.409},
    };
    open_setup("");
    judge(3, loss);
    ck_assert_int_eq(result.row[0].verdict, BRANCH_HARMLESS);
    ck_assert_double_eq(result.row[0].batch, 16);
    ck_assert_int_eq(result.row[1].verdict, BRANCH_HARMLESS);
    ck_assert_double_eq(result.row[1].batch, 32);
    ck_assert_int_eq(result.row[2].verdict, BRANCH_AT_LEAST);
    ck_assert_double_eq(result.row[2].batch, 64);
}
END_TEST

START_TEST(what_is_missing_decides_nothing)
{
    static const double loss[2][4] = {{NAN, 3, 3, 3}, {3, INFINITY, 3, 3}};
    struct str text = {0};
    int64_t batch;
    open_setup("");
    judge(2, loss);
    ck_assert_int_eq(result.row[0].verdict, BRANCH_UNKNOWN);
    ck_assert_int_eq(result.row[1].verdict, BRANCH_HARMLESS);
    ck_assert_double_eq(result.row[1].factor, 1);
    ck_assert_int_eq(result.row[2].verdict, BRANCH_OPEN);
    ck_assert(!branch_ramp(&text, &result, &batch));
    branch_show(&text, &result);
    ck_assert_ptr_nonnull(strstr(text.s, "not known"));
    ck_assert_ptr_nonnull(strstr(text.s, "diverged"));
    ck_assert_ptr_nonnull(strstr(text.s, "none yet"));
    str_release(&text);
}
END_TEST

static void expect_ramp(const double loss[][4], const char *ramp, int64_t batch)
{
    struct str text = {0};
    struct ramp parsed;
    struct config c;
    int64_t last;
    judge(3, loss);
    ck_assert(branch_ramp(&text, &result, &last));
    ck_assert_str_eq(text.s, ramp);
    ck_assert_int_eq(last, batch);
    /* A job takes it as it is. */
    c = load("");
    snprintf(c.batch.ramp, sizeof c.batch.ramp, "%s", text.s);
    c.batch.global = last;
    ck_assert_msg(ramp_init(&parsed, &c) == OK, "%s", err_message());
    str_release(&text);
}

START_TEST(the_ramp_never_does_harm_later)
{
    static const double grows[3][4] = {{3, 3.1, 0, 0}, {2, 2, 2.1, 0}, {1, 1, 1, 1}};
    static const double dips[3][4] = {{3, 3, 3, 3.1}, {2, 2, 2.1, 0}, {1, 1, 1, 1}};
    static const double stays[3][4] = {{3, 3.1, 3, 3}, {2, 2.1, 2, 2}, {1, 1.1, 1, 1}};
    open_setup("");
    expect_ramp(grows, "0:8 24000tok:16 40000tok:64", 64);
    expect_ramp(dips, "0:8 8000tok:16 40000tok:64", 64);
    expect_ramp(stays, "0:8", 8);
}
END_TEST

START_TEST(errors_name_the_key)
{
    static const struct {
        const char *more, *part;
    } bad[] = {
        {"study.factors: '1'\n", "study.factors"},
        {"study.factors: 1,1.3\n", "study.factors: 1.3 times 8"},
        {"study.factors: 1,x\n", "\"x\" is no number"},
        {"study.factors: 1,2,2\n", "twice"},
        {"batch.micro: 8\nstudy.factors: 0.5,1\n", "study.factors: 0.5 times 8"},
        {"study.budget: 50ktok\n", "study.budget"},
        {"scaling.rule: malladi\nstudy.factors: 1,64\n", "scaling.rule malladi"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config c = load(bad[i].more);
        ck_assert_msg(branch_init(&setup, &c) == E_CONFIG, "%s", bad[i].more);
        ck_assert_msg(strstr(err_message(), bad[i].part) != NULL, "%s: %s", bad[i].more,
                      err_message());
    }
    struct config c = load("");
    snprintf(c.study.from, sizeof c.study.from, "950@76000");
    ck_assert_int_eq(branch_init(&setup, &c), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "behind the run"));
    snprintf(c.study.from, sizeof c.study.from, "950@76000,100@8000");
    ck_assert_int_eq(branch_init(&setup, &c), E_CONFIG);
    snprintf(c.run.dir, sizeof c.run.dir, "nowhere");
    snprintf(c.study.from, sizeof c.study.from, "950");
    ck_assert_int_eq(branch_resolve(&c), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "holds no checkpoint of step 950"));
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_branch_goes_on_with_a_larger_batch);
    tcase_add_test(t, a_rule_of_the_run_stays);
    tcase_add_test(t, harm_is_told_from_noise);
    tcase_add_test(t, what_is_missing_decides_nothing);
    tcase_add_test(t, the_ramp_never_does_harm_later);
    tcase_add_test(t, errors_name_the_key);
}

int main(void)
{
    return run_suite("study/branch", add);
}
