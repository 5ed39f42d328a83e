/* Scaling rules put to test on a made-up model whose best rate grows with the root of the batch, up
 * to a batch from which on it stays. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/rules.h"

#include <math.h>
#include <string.h>

#define BEST_AT_8  0.002
#define LAST       64.0 /* the batch up to which the best rate grows */
#define DECAY_HARM 0.02 /* what rules do that change more than the rate */
#define DIVERGES   0.05
/* Rates are written with eight digits, and a parabola through three points is exact. */
#define WRITTEN 1e-6

enum { MOST_TRIALS = 400, MOST_WORKERS = 8 };

static const char job[] = "run.dir: runs/a\nmodel.preset: gemma3-270m\ndata.train: a.h5\n"
                          "batch: {global: 8, seq_len: 10}\ntrain.steps: 1000\n"
                          "optimizer: {name: adamw, lr: 0.001}\nschedule.warmup: 50 steps\n";

static struct trial trial[MOST_TRIALS];
static struct history h;
static void *self;
static struct rules_setup setup;
static struct rules_result result;

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

static double number(const struct trial *t, const char *key)
{
    double v;
    ck_assert(parse_f64(trial_setting(&t->plan, key), &v));
    return v;
}

static void finish(struct trial *t)
{
    double batch = number(t, "batch.global"), lr = number(t, "optimizer.lr");
    double best = BEST_AT_8 * sqrt(fmin(batch, LAST) / 8);
    const char *rule = trial_setting(&t->plan, "scaling.rule");
    bool alone = strcmp(rule, "none") == 0;
    if (!alone)
        lr *= sqrt(batch / number(t, "scaling.base_batch"));
    t->value = 2 + 0.05 * pow(log2(lr / best), 2) + (alone ? 0 : DECAY_HARM);
    t->state = lr > DIVERGES ? TRIAL_DIVERGED : TRIAL_DONE;
}

/* Lets workers end their trials in an order that the seed decides. */
static void run(const char *more, int n_workers, uint64_t seed)
{
    struct config c = load(more);
    enum answer answer = ANSWER_GO;
    int running[MOST_WORKERS], n = 0;
    h = (struct history){trial, 0};
    ck_assert_msg(PLANNER_RULES.open(&self, NULL, &c) == OK, "%s", err_message());
    for (uint64_t turn = 0; answer != ANSWER_STOP || n > 0; turn++) {
        while (n < n_workers && answer != ANSWER_STOP) {
            struct trial *t = &trial[h.n];
            *t = (struct trial){.number = h.n, .state = TRIAL_RUNNING, .value = NAN};
            ck_assert_int_eq(PLANNER_RULES.propose(self, &h, &t->plan, &answer), OK);
            if (answer != ANSWER_GO)
                break;
            running[n++] = h.n++;
            ck_assert_int_lt(h.n, MOST_TRIALS);
        }
        ck_assert_msg(n > 0 || answer == ANSWER_STOP, "waits for nothing");
        if (n == 0)
            break;
        int i = (int)(rng_uniform(seed, 1, turn) * n);
        finish(&trial[running[i]]);
        running[i] = running[--n];
    }
    ck_assert_msg(rules_init(&setup, &c) == OK, "%s", err_message());
    ck_assert_int_eq(rules_judge(&result, &setup, &h), OK);
}

static void end(void)
{
    PLANNER_RULES.close(self);
    for (int i = 0; i < h.n; i++)
        mem_free(trial[i].plan.set);
}

#define STUDY "study: {batches: '2,8,32,128,512', rules: 'linear,sqrt,none,half_life'}\n"

START_TEST(the_rule_that_holds_is_found)
{
    struct str text = {0};
    run(STUDY, 1, 1);
    ck_assert(result.complete);
    ck_assert_str_eq(setup.rule[result.best]->name, "sqrt");
    ck_assert_double_eq(result.range[1].low, 2);
    /* At 128 its rate is too high by a factor of √2, at 512 by √8, and the grid has no better one
     * than √2 off. */
    ck_assert_double_eq(result.range[1].high, 128);
    ck_assert_double_eq(result.range[0].high, 8);
    ck_assert_int_eq(result.range[3].n, 0);
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq_tol(result.batch[i].tuned.lr /
                                    (BEST_AT_8 * sqrt(fmin(setup.batch[i], LAST) / 8)),
                                1, WRITTEN);
    rules_show(&text, &result);
    ck_assert_ptr_nonnull(strstr(text.s, "sqrt holds from 2 to 128;"));
    ck_assert_ptr_nonnull(strstr(text.s, "none holds at no batch but the base"));
    ck_assert_ptr_nonnull(strstr(text.s, "scaling.rule=sqrt scaling.base_batch=8"));
    ck_assert_ptr_nonnull(strstr(text.s, "diverged"));
    str_release(&text);
    end();
}
END_TEST

START_TEST(all_train_on_the_same_tokens)
{
    run(STUDY, 2, 1);
    for (int i = 0; i < h.n; i++) {
        ck_assert_str_eq(trial_setting(&trial[i].plan, "train.tokens"), "80000");
        ck_assert_str_eq(trial_setting(&trial[i].plan, "schedule.warmup"), "4000 tokens");
        for (int j = 0; j < i; j++) {
            bool same = true;
            for (int k = 0; k < trial[i].plan.n_set; k++)
                same &= strcmp(trial[i].plan.set[k].value, trial[j].plan.set[k].value) == 0;
            ck_assert_msg(!same, "trials %d and %d are the same", j, i);
        }
    }
    end();
}
END_TEST

START_TEST(the_order_of_workers_does_not_matter)
{
    double value[MOST_TRIALS];
    int n;
    run(STUDY, 1, 1);
    n = h.n;
    for (int i = 0; i < n; i++)
        value[i] = trial[i].value;
    end();
    for (uint64_t seed = 2; seed < 6; seed++) {
        run(STUDY, MOST_WORKERS, seed);
        ck_assert_int_eq(h.n, n);
        for (int i = 0; i < n; i++)
            ck_assert_double_eq(trial[i].value, value[i]);
        end();
    }
}
END_TEST

/* The job's rate is half the best one: the grid grows until worse ones lie on either side. */
START_TEST(the_base_is_tuned_first)
{
    run(STUDY, 1, 1);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq(number(&trial[i], "batch.global"), 8);
    ck_assert_double_gt(number(&trial[4], "batch.global"), 0);
    ck_assert_double_ne(number(&trial[4], "batch.global"), 8);
    ck_assert_int_eq(result.batch[setup.base].tuned.kind, BEST_WITHIN);
    end();
}
END_TEST

START_TEST(a_rule_without_settings_is_shown_so)
{
    struct str text = {0};
    run("study: {batches: '8,16,512', rules: 'malladi,surge,sqrt'}\n", 3, 1);
    ck_assert(result.batch[2].cell[0].impossible); /* 64 · (1 - .95) is above 1 */
    ck_assert(!result.batch[1].cell[0].impossible);
    ck_assert(result.batch[1].cell[1].impossible); /* no noise scale is given */
    rules_show(&text, &result);
    ck_assert_ptr_nonnull(strstr(text.s, "impossible"));
    str_release(&text);
    end();
}
END_TEST

START_TEST(a_budget_ends_it_early)
{
    run(STUDY "study.budget: 800ktok\n", 2, 1);
    ck_assert_int_eq(h.n, 10);
    ck_assert(!result.complete);
    end();
}
END_TEST

START_TEST(errors_name_the_key)
{
    static const struct {
        const char *more, *part;
    } bad[] = {
        {"study.rules: lineal\n", "study.rules"},
        {"study.rules: sqrt,sqrt\n", "twice"},
        {"study.rules: ','\n", "study.rules"},
        {"study.batches: '8'\n", "study.batches"},
        {"study.batches: 8,8.5\n", "8.5"},
        {"batch.ramp: '0:4 1k:8'\n", "batch.ramp"},
        {"study.budget: 100ktok\n", "study.budget"},
        {"batch.micro: 4\nstudy.batches: 2,8\n", "study.batches: 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct config c = load(bad[i].more);
        ck_assert_msg(rules_init(&setup, &c) == E_CONFIG, "%s", bad[i].more);
        ck_assert_msg(strstr(err_message(), bad[i].part) != NULL, "%s: %s", bad[i].more,
                      err_message());
    }
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_rule_that_holds_is_found);
    tcase_add_test(t, all_train_on_the_same_tokens);
    tcase_add_test(t, the_order_of_workers_does_not_matter);
    tcase_add_test(t, the_base_is_tuned_first);
    tcase_add_test(t, a_rule_without_settings_is_shown_so);
    tcase_add_test(t, a_budget_ends_it_early);
    tcase_add_test(t, errors_name_the_key);
}

int main(void)
{
    return run_suite("study/rules", add);
}
