/* The rate by trial on the way, on a made-up objective whose best rate falls. */
#include "base/err.h"
#include "base/str.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/simulate.h"

enum { RUN_TOKENS = 80000, MILESTONES = 3 };

static const char job[] = "run.dir: x\nmodel.preset: gemma3-270m\ndata.train: a.h5\n"
                          "batch: {global: 4, micro: 1, seq_len: 10}\ntrain.tokens: 80000\n"
                          "optimizer.lr: 0.001\nsearch:\n  rule: bandit\n  milestones: 3\n";
#define SPACE "  space: optimizer.lr log 1e-4 1e-1\n"

static struct sim m;
static struct config conf;

static int open_with(const char *more)
{
    struct conf_origins o;
    struct str text = {0};
    str_addf(&text, "%s%s", job, more);
    int rc = conf_load_text(&conf, &o, text.s, "job.yaml");
    ck_assert_msg(rc == OK, "%s", err_message());
    str_release(&text);
    m = (struct sim){.planner = &PLANNER_SEARCH, .tokens = RUN_TOKENS};
    return PLANNER_SEARCH.open(&m.self, NULL, &conf);
}

/* The best rate is 4e-3 for the first half, then 1e-3. */
static double falling(const struct space *s, const double *point, double share)
{
    (void)s;
    double away = log2(point[0] / (share > 0.5 ? 1e-3 : 4e-3));
    return 2 - share + 0.1 * away * away;
}

static double diverges(const struct space *s, const double *point, double share)
{
    (void)s, (void)share;
    return point[0] > 1.5e-3 ? NAN : 2;
}

static void run(sim_loss *loss, int n_workers, uint64_t seed)
{
    int rc = open_with(SPACE);
    ck_assert_msg(rc == OK, "%s", err_message());
    m.loss = loss;
    sim_run(&m, n_workers, seed);
}

static void end(void)
{
    sim_release(&m);
    PLANNER_SEARCH.close(m.self);
}

static double rate(int i)
{
    double lr;
    ck_assert(parse_f64(trial_setting(&m.h.trial[i].plan, "optimizer.lr"), &lr));
    return lr;
}

static int best(void)
{
    int b = -1;
    for (int i = 0; i < m.h.n; i++)
        if (m.h.trial[i].state == TRIAL_DONE && (b < 0 || m.h.trial[i].value < m.h.trial[b].value))
            b = i;
    return b;
}

START_TEST(the_rate_follows_what_is_best)
{
    static const double path[] = {2e-3, 4e-3, 2e-3, 1e-3};
    run(falling, 3, 1);
    ck_assert_int_eq(m.h.n, 3 + 2 * MILESTONES);
    int i = best();
    for (int g = MILESTONES; g >= 0; g--, i = m.h.trial[i].plan.parent) {
        ck_assert_double_eq_tol(rate(i), path[g], 1e-9); /* of eight digits */
        if (g > 0)
            ck_assert_double_eq(m.h.trial[i].plan.parent_tokens, RUN_TOKENS * g / 4.0);
    }
    ck_assert_int_eq(i, -1);
    end();
}
END_TEST

/* Each quarter of the run is done three times, whoever wins. */
START_TEST(it_costs_three_runs_and_says_so)
{
    char text[512];
    double spent = 0;
    struct search_facts f;
    run(falling, 2, 1);
    for (int i = 0; i < m.h.n; i++) {
        const struct trial *t = &m.h.trial[i];
        spent += t->tokens - (t->plan.parent >= 0 ? t->plan.parent_tokens : 0);
    }
    ck_assert_double_eq(spent, 3.0 * RUN_TOKENS);
    search_facts(m.self, &f);
    ck_assert_double_eq(f.tokens, spent);
    PLANNER_SEARCH.headline(m.self, &m.h, text, sizeof text);
    ck_assert_msg(strstr(text, "rates 0.002 → 0.004 → 0.002 → 0.001") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "3.00 times the 80.0k of a plain run") != NULL, "%s", text);
    end();
}
END_TEST

START_TEST(workers_do_not_matter)
{
    double value[2][3 + 2 * MILESTONES];
    for (int w = 0; w < 2; w++) {
        run(falling, w == 0 ? 1 : 4, (uint64_t)w + 1);
        for (int i = 0; i < m.h.n; i++)
            value[w][i] = m.h.trial[i].value;
        end();
    }
    ck_assert_mem_eq(value[0], value[1], sizeof value[0]);
}
END_TEST

START_TEST(what_diverges_loses)
{
    run(diverges, 2, 1);
    ck_assert_int_eq(m.h.trial[2].state, TRIAL_DIVERGED);
    /* Of equal ones the one that goes on. */
    ck_assert_int_eq(best(), 0);
    end();
}
END_TEST

START_TEST(errors_say_what_it_needs)
{
    static const char *const bad[] = {
        "  space: optimizer.weight_decay uniform 0 1\n",
        "  space: optimizer.lr log 1e-2 1e-1\n",
        "  space: optimizer.lr choice 1e-3 1e-2\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(open_with(bad[i]), E_CONFIG);
        ck_assert_ptr_nonnull(strstr(err_message(), "bandit"));
    }
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_rate_follows_what_is_best);
    tcase_add_test(t, it_costs_three_runs_and_says_so);
    tcase_add_test(t, workers_do_not_matter);
    tcase_add_test(t, what_diverges_loses);
    tcase_add_test(t, errors_say_what_it_needs);
}

int main(void)
{
    return run_suite("study/bandit", add);
}
