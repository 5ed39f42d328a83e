/* Large-batch studies planned on the noisy quadratic model, whose best rates and steps are known.
 */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/critical_plan.h"
#include "study/quadratic.h"
#include "study/range_curve.h"
#include "study/search.h"
#include "study/space.h"

#include <string.h>

enum { MOST_TRIALS = 400, SLOTS = 5, RANGE_POINTS = 100 };

/* A grid with a factor of 1.3 finds the best rate's steps to so much. */
static const double OF_GRID = 0.06;
/* Two rates of a range test: the middle of its fall is rounded down twice. */
static const double OF_RANGE = 0.25;
/* The critical batch by such steps, against that of the closest grid. */
static const double OF_CRITICAL = 0.15;

static struct config job_of(const char *more)
{
    struct config c;
    struct conf_origins origins;
    struct str text = {0};
    str_add(&text, "run: {dir: runs/x, seed: 7}\nmodel.preset: gemma1-nano\n"
                   "data: {train: none.h5}\nbatch: {global: 16, micro: 8, seq_len: 1}\n"
                   "optimizer: {name: adamw, lr: 0.5}\n"
                   "schedule: {name: constant, warmup: 0 tokens}\n");
    if (strstr(more, "train.tokens") == NULL)
        str_add(&text, "train.tokens: 1000000\n");
    str_add(&text, more);
    ck_assert_msg(conf_load_text(&c, &origins, text.s, "test") == OK, "%s", err_message());
    str_release(&text);
    return c;
}

static const char BASIC[] =
    "study: {batches: '1,4,16,64,1024', targets: '1.0,1.5', rates: 3, rate_step: 1.3, extend: 30, "
    "center: job}\n";

/* A study whose trials are computed. */
struct world {
    struct config job;
    struct critical_plan plan;
    struct history h;
    struct trial trial[MOST_TRIALS];
    struct curve_point curve[MOST_TRIALS][RANGE_POINTS];
    int most_running;
};

static void begin(struct world *w, const char *text)
{
    memset(w, 0, sizeof *w);
    w->job = job_of(text);
    ck_assert_msg(critical_plan_open(&w->plan, NULL, &w->job) == OK, "%s", err_message());
    w->h.trial = w->trial;
}

static double setting(const struct trial *t, const char *key)
{
    double v = NAN;
    ck_assert_msg(trial_setting(&t->plan, key) != NULL, "%s is not set", key);
    ck_assert(parse_f64(trial_setting(&t->plan, key), &v));
    return v;
}

/* The two validations around a target, at the trial's own noise. */
static void reach(struct world *w, struct trial *t, double target, double most)
{
    double batch = setting(t, "batch.global"), lr = setting(t, "optimizer.lr");
    double step = quadratic_steps(lr, batch, target, most);
    for (double at = step - 1; isfinite(step) && at <= step; at++)
        t->curve[t->n_curve++] =
            (struct curve_point){at, at * batch, quadratic_risk(at, lr, batch, 1e9), at};
    (void)w;
}

/* A loss that, once high, falls evenly from a third of a rate to three times it, and rises behind.
 */
static void range_finish(struct world *w, struct trial *t, double rate)
{
    double peak = log(rate * 3);
    (void)w;
    t->value = NAN;
    for (int i = 0; i < RANGE_POINTS; i++) {
        double x = log(range_rate(&RANGE_DEFAULT, i)), low = log(rate / 3);
        double loss = x < low ? 4 : x < peak ? 5 - (x - low) : 9 + x;
        t->curve[t->n_curve++] = (struct curve_point){i + 1, i + 1, loss, i};
    }
}

/* What comes of a trial: its curve holds the two validations around each target. */
static void finish(struct world *w, struct trial *t)
{
    double batch = setting(t, "batch.global");
    t->curve = w->curve[t->number];
    t->state = TRIAL_DONE;
    t->ranks = 1;
    if (strcmp(t->plan.role, "range") == 0) {
        range_finish(w, t, 0.3 * sqrt(batch));
        t->tokens = 60 * batch; /* it ended early */
        return;
    }
    double lr = setting(t, "optimizer.lr"), most = floor(t->plan.most_tokens / batch);
    if (lr >= 2) {
        t->state = TRIAL_DIVERGED;
        t->value = NAN;
        t->tokens = batch;
        return;
    }
    for (int k = 0; k < w->plan.n_targets; k++)
        reach(w, t, w->plan.target[k], most);
    bool hit = !isinf(quadratic_steps(lr, batch, t->plan.target, most));
    t->steps = hit ? t->curve[t->n_curve - 1].step : most;
    t->value = quadratic_risk(t->steps, lr, batch, 1e9);
    t->tokens = t->steps * batch;
    t->train_s = t->steps * (1 + batch / 64);
    t->step_s = 1 + batch / 64;
    t->noise_scale = NAN;
}

static bool has_running(const struct world *w, int *which, int k)
{
    for (int i = 0; i < w->h.n; i++)
        if (w->trial[i].state == TRIAL_RUNNING && k-- == 0) {
            *which = i;
            return true;
        }
    return false;
}

/* Runs the study with so many workers, which end their trials in an order of the seed's. */
static void run(struct world *w, int workers, uint64_t seed)
{
    enum answer answer = ANSWER_GO;
    int running = 0, i = 0;
    for (uint64_t turn = 0; answer != ANSWER_STOP || running > 0; turn++) {
        struct trial_plan plan = {.parent = -1};
        ck_assert_msg(PLANNER_STUDY.propose(&w->plan, &w->h, &plan, &answer) == OK, "%s",
                      err_message());
        if (answer == ANSWER_GO && running < workers) {
            ck_assert_int_lt(w->h.n, MOST_TRIALS);
            w->trial[w->h.n] = (struct trial){
                .number = w->h.n, .plan = plan, .state = TRIAL_RUNNING, .value = NAN};
            w->h.n++;
            running++;
            if (running < workers)
                continue;
        } else {
            mem_free(plan.set);
        }
        ck_assert(running > 0 || answer == ANSWER_STOP);
        if (running == 0)
            break;
        int k = (int)(rng_uniform(seed, 3, turn) * running);
        ck_assert(has_running(w, &i, k));
        finish(w, &w->trial[i]);
        running--;
    }
}

static void end(struct world *w)
{
    for (int i = 0; i < w->h.n; i++)
        mem_free(w->trial[i].plan.set);
}

static struct world one, other;

START_TEST(it_finds_the_best_rates_and_the_critical_batch)
{
    struct study_result r;
    double batch[5], exact[5];
    struct critical known;
    begin(&one, BASIC);
    run(&one, 1, 1);
    ck_assert_int_eq(study_result(&r, &one.h, &one.job), OK);
    ck_assert_int_eq(r.n_batches, 5);
    ck_assert_int_eq(r.main, 1);
    for (int b = 0; b < 5; b++) {
        const struct result_best *best = &r.batch[b].best[1];
        batch[b] = r.batch[b].batch;
        exact[b] = quadratic_best(batch[b], 1.0);
        ck_assert_msg(fabs(ceil(best->steps) / exact[b] - 1) <= OF_GRID, "B %g: %g, not %g steps",
                      batch[b], best->steps, exact[b]);
        /* At the largest batches the best rate is the last below divergence. */
        ck_assert_int_eq(best->rate.kind, BEST_WITHIN);
    }
    ck_assert(critical_fit(&known, batch, exact, 5));
    ck_assert_double_eq_tol(r.target[1].fit.batch / known.batch, 1, OF_CRITICAL);
    ck_assert(r.target[1].spread.batch.low < known.batch &&
              known.batch < r.target[1].spread.batch.high);
    ck_assert_str_ne(r.sentence.s, "");
    study_result_release(&r);
    end(&one);
}
END_TEST

START_TEST(workers_and_their_order_change_nothing)
{
    begin(&one, BASIC);
    run(&one, 1, 1);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin(&other, BASIC);
        run(&other, SLOTS, seed);
        ck_assert_int_eq(other.h.n, one.h.n);
        for (int i = 0; i < one.h.n; i++) {
            const struct trial_plan *a = &one.trial[i].plan, *b = &other.trial[i].plan;
            ck_assert_int_eq(a->n_set, b->n_set);
            ck_assert_int_eq(memcmp(a->set, b->set, (size_t)a->n_set * sizeof *a->set), 0);
            ck_assert(a->most_tokens == b->most_tokens && a->target == b->target);
        }
        end(&other);
    }
    end(&one);
}
END_TEST

static int count(const struct world *w, const char *role, double batch)
{
    int n = 0;
    for (int i = 0; i < w->h.n; i++)
        n += strcmp(w->trial[i].plan.role, role) == 0 &&
             (batch == 0 || setting(&w->trial[i], "batch.global") == batch);
    return n;
}

START_TEST(a_grid_is_extended_no_further_than_allowed)
{
    struct study_result r;
    /* From 0.5 the best rate at B=1, 0.18, is three thirds down; one step is not enough. */
    begin(&one, "study: {batches: '1', targets: '1.0', rates: 3, rate_step: 1.2, extend: 2, "
                "center: job}\n");
    run(&one, 1, 1);
    ck_assert_int_eq(count(&one, "cell", 1), 5);
    ck_assert_int_eq(study_result(&r, &one.h, &one.job), OK);
    ck_assert_int_eq(r.batch[0].best[0].rate.kind, BEST_LOWEST);
    ck_assert_ptr_nonnull(strstr(r.notes.s, "edge"));
    study_result_release(&r);
    end(&one);
}
END_TEST

START_TEST(range_tests_come_first_and_centre_the_grid)
{
    begin(&one, "study: {batches: '4,16', targets: '1.0', rates: 3, rate_step: 2, extend: 2}\n");
    run(&one, SLOTS, 1);
    ck_assert_str_eq(one.trial[0].plan.role, "range");
    ck_assert_str_eq(one.trial[1].plan.role, "range");
    ck_assert_str_eq(one.trial[2].plan.role, "cell");
    ck_assert_double_eq(setting(&one.trial[2], "batch.global"), 16); /* the larger first */
    struct critical_facts facts;
    double tokens = 0;
    for (int i = 0; i < one.h.n; i++)
        tokens += one.trial[i].tokens;
    critical_foresee(&one.plan, &one.h, &facts);
    ck_assert_int_eq(facts.n_trials, one.h.n);
    ck_assert_double_eq_tol(facts.tokens / tokens, 1, 1e-9); /* nothing is left */
    ck_assert_double_eq_tol(setting(&one.trial[2], "optimizer.lr") / 1.2, 1, OF_RANGE);
    ck_assert_double_eq_tol(setting(&one.trial[3], "optimizer.lr") / 0.6, 1, OF_RANGE);
    end(&one);
}
END_TEST

START_TEST(seeds_repeat_the_best_rate_and_near_ones)
{
    struct study_result r;
    begin(&one, "study: {batches: '16,64', targets: '1.0', rates: 3, extend: 6, seeds: 3, "
                "center: job}\n");
    run(&one, SLOTS, 2);
    ck_assert_int_eq(study_result(&r, &one.h, &one.job), OK);
    for (int b = 0; b < 2; b++) {
        const struct result_best *best = &r.batch[b].best[0];
        ck_assert_int_eq(best->n_seeds, 3);
        ck_assert_int_eq(r.cell[best->cell].n, 3);
    }
    study_result_release(&r);
    end(&one);
}
END_TEST

START_TEST(nothing_is_begun_that_the_budget_has_no_room_for)
{
    struct study_result r;
    double tokens = 0;
    begin(&one, "study: {batches: '16,64', targets: '1.0', rates: 3, extend: 6, center: job, "
                "give_up: 1.5, budget: 330000}\ntrain.tokens: 60000\n");
    run(&one, SLOTS, 2);
    for (int i = 0; i < one.h.n; i++)
        tokens += one.trial[i].tokens;
    ck_assert_double_le(tokens, 330000);
    ck_assert_int_gt(one.h.n, 2);
    begin(&other, "study: {batches: '16,64', targets: '1.0', rates: 3, extend: 6, center: job, "
                  "give_up: 1.5, budget: 125000}\ntrain.tokens: 60000\n");
    run(&other, SLOTS, 2);
    ck_assert_int_lt(other.h.n, one.h.n);
    ck_assert_int_eq(study_result(&r, &other.h, &other.job), OK);
    ck_assert_ptr_nonnull(strstr(r.notes.s, "study.budget"));
    study_result_release(&r);
    end(&one);
    end(&other);
    /* Not even the first stage fits. */
    struct config c =
        job_of("study: {batches: '16,64', targets: '1.0', center: job, budget: 1e6}\n");
    ck_assert_int_eq(critical_plan_open(&one.plan, NULL, &c), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "study.budget"));
}
END_TEST

START_TEST(a_target_that_no_trial_reaches_is_said)
{
    struct study_result r;
    begin(&one, "train.tokens: 3000\nstudy: {batches: '1,4', targets: '1.5,0.01', rates: 3, "
                "extend: 3, center: job}\n");
    run(&one, SLOTS, 2);
    ck_assert_int_eq(study_result(&r, &one.h, &one.job), OK);
    ck_assert_int_eq(r.target[1].n_reached, 0);
    ck_assert_int_eq(r.main, 0);
    ck_assert_ptr_nonnull(strstr(r.notes.s, "0.01"));
    ck_assert(!r.target[1].fits);
    study_result_release(&r);
    end(&one);
}
END_TEST

static void refuse(const char *text, const char *word)
{
    struct config c = job_of(text);
    ck_assert_int_eq(critical_plan_open(&one.plan, NULL, &c), E_CONFIG);
    ck_assert_msg(strstr(err_message(), word) != NULL, "%s: %s", word, err_message());
}

START_TEST(what_a_study_cannot_be_made_of_is_refused)
{
    refuse("", "study.targets");
    refuse("study: {targets: '1,1'}\n", "study.targets");
    refuse("study: {targets: '1', batches: '3,x'}\n", "study.batches");
    refuse("study: {targets: '1', batches: '2000000'}\n", "study.batches");
    refuse("study.targets: '1'\nbatch.ramp: '8:0'\n", "batch.ramp");
    refuse("study.targets: '1'\nscaling.rule: adascale\n", "scaling.rule");
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, it_finds_the_best_rates_and_the_critical_batch);
    tcase_add_test(t, workers_and_their_order_change_nothing);
    tcase_add_test(t, a_grid_is_extended_no_further_than_allowed);
    tcase_add_test(t, range_tests_come_first_and_centre_the_grid);
    tcase_add_test(t, seeds_repeat_the_best_rate_and_near_ones);
    tcase_add_test(t, nothing_is_begun_that_the_budget_has_no_room_for);
    tcase_add_test(t, a_target_that_no_trial_reaches_is_said);
    tcase_add_test(t, what_a_study_cannot_be_made_of_is_refused);
}

int main(void)
{
    return run_suite("study/study_plan", add);
}
