/* The planner of searches on made-up objectives: the same trials whatever the workers, whole grids,
 * rungs, lineages, importance. */
#include "base/err.h"
#include "base/str.h"
#include "check_main.h"
#include "conf/config_file.h"
#include "study/importance.h"
#include "study/simulate.h"

#define EIGHT_DIGITS 1e-7 /* proposed values have no more */

enum { RUN_TOKENS = 81000 /* of the job below */ };

static const char job[] = "run.dir: x\nmodel.preset: gemma3-270m\ndata.train: a.h5\n"
                          "batch: {global: 4, micro: 1, seq_len: 10}\ntrain.tokens: 81000\n";

static struct sim m;
static struct config conf;

static int open_with(const char *more)
{
    struct conf_origins o;
    struct str text = {0};
    str_addf(&text, "%ssearch:\n  %s\n", job, more);
    int rc = conf_load_text(&conf, &o, text.s, "job.yaml");
    ck_assert_msg(rc == OK, "%s", err_message());
    str_release(&text);
    m = (struct sim){.planner = &PLANNER_SEARCH, .tokens = RUN_TOKENS};
    return PLANNER_SEARCH.open(&m.self, NULL, &conf);
}

/* A bowl over all axes, deeper with every token; one corner diverges. */
static double bowl(const struct space *s, const double *point, double share)
{
    double sum = 0;
    for (int i = 0; i < s->n; i++) {
        double u = isnan(point[i]) ? 0.5 : axis_place(&s->axis[i], point[i]);
        sum += (u - 0.4) * (u - 0.4) * (i + 1);
    }
    if (!isnan(point[0]) && axis_place(&s->axis[0], point[0]) > 0.95)
        return NAN;
    return sum + 1 / (0.1 + share);
}

static void run_search(const char *more, int n_workers, uint64_t seed)
{
    int rc = open_with(more);
    ck_assert_msg(rc == OK, "%s", err_message());
    m.loss = bowl;
    sim_run(&m, n_workers, seed);
}

static void end_search(void)
{
    sim_release(&m);
    PLANNER_SEARCH.close(m.self);
}

/* What came of every trial, as text. */
static char *outcome(void)
{
    struct str text = {0};
    str_add(&text, "");
    for (int i = 0; i < m.h.n; i++) {
        const struct trial *t = &m.h.trial[i];
        str_addf(&text, "%d %d %d %d %a %a", i, t->state, t->n_reached, t->plan.parent,
                 t->plan.parent_tokens, t->value);
        for (int j = 0; j < t->plan.n_set; j++)
            str_addf(&text, " %s=%s", t->plan.set[j].key, t->plan.set[j].value);
        str_add(&text, "\n");
    }
    return text.s;
}

#define SPACE                                                                                      \
    "space: optimizer.lr log 1e-4 1e-1; optimizer.weight_decay uniform 0 0.3; schedule.name "      \
    "choice cosine linear constant; schedule.final uniform 0 0.2 if schedule.name=cosine|linear\n" \
    "  trials: 40\n  "

START_TEST(workers_do_not_matter)
{
    static const char *const searches[] = {
        SPACE "rule: random",
        SPACE "rule: halton\n  prune: median",
        SPACE "rule: tpe",
        SPACE "rule: tpe\n  prune: asha",
        SPACE "rule: tpe\n  prune: halving\n  milestones: 2\n  startup: 5",
        SPACE "rule: tpe\n  prune: median",
        SPACE "rule: gp\n  prune: asha\n  milestones: 2",
        "space: optimizer.lr log 1e-4 1e-1; batch.global int 1 8 log\n  rule: pbt\n  trials: 12",
    };
    for (size_t i = 0; i < sizeof searches / sizeof searches[0]; i++) {
        run_search(searches[i], 1, 1);
        char *alone = outcome();
        end_search();
        for (int n = 3; n <= 8; n += 5)
            for (uint64_t seed = 2; seed < 4; seed++) {
                run_search(searches[i], n, seed);
                char *together = outcome();
                ck_assert_msg(strcmp(alone, together) == 0, "%s, %d workers:\n%s\n%s", searches[i],
                              n, alone, together);
                free(together);
                end_search();
            }
        free(alone);
    }
}
END_TEST

static int count(enum trial_state state)
{
    int n = 0;
    for (int i = 0; i < m.h.n; i++)
        n += m.h.trial[i].state == state;
    return n;
}

START_TEST(grids_are_whole)
{
    /* Three rates, two layers (all there are), and finals only for two of the three schedules. */
    run_search("space: optimizer.lr log 1e-3 1e-1; model.layers int 2 3; schedule.name choice "
               "cosine linear constant; schedule.final uniform 0 0.2 if "
               "schedule.name=cosine|linear\n  rule: grid",
               3, 1);
    ck_assert_int_eq(m.h.n, 3 * 2 * (3 + 3 + 1));
    for (int i = 0; i < m.h.n; i++)
        for (int j = 0; j < i; j++) {
            const struct trial_plan *a = &m.h.trial[i].plan, *b = &m.h.trial[j].plan;
            bool same = a->n_set == b->n_set;
            for (int k = 0; k < a->n_set && same; k++)
                same = strcmp(a->set[k].value, b->set[k].value) == 0;
            ck_assert_msg(!same, "trials %d and %d are the same", i, j);
        }
    ck_assert_str_eq(trial_setting(&m.h.trial[0].plan, "optimizer.lr"), "0.001");
    ck_assert_str_eq(trial_setting(&m.h.trial[m.h.n / 2].plan, "optimizer.lr"), "0.01");
    ck_assert_str_eq(trial_setting(&m.h.trial[m.h.n - 1].plan, "optimizer.lr"), "0.1");
    end_search();
}
END_TEST

START_TEST(random_trials_follow_from_their_number)
{
    struct trial_plan plan[2] = {0};
    enum answer answer;
    ck_assert_int_eq(open_with(SPACE "rule: random"), OK);
    struct history none = {NULL, 0}, some = {calloc(18, sizeof(struct trial)), 17};
    ck_assert_int_eq(PLANNER_SEARCH.propose(m.self, &some, &plan[0], &answer), OK);
    PLANNER_SEARCH.close(m.self);
    run_search(SPACE "rule: random", 4, 1);
    ck_assert_str_eq(plan[0].set[0].value, m.h.trial[17].plan.set[0].value);
    ck_assert_int_eq(plan[0].parent, -1);
    ck_assert_int_eq(PLANNER_SEARCH.propose(m.self, &none, &plan[1], &answer), OK);
    ck_assert_str_eq(plan[1].set[0].value, m.h.trial[0].plan.set[0].value);
    ck_assert_str_ne(plan[1].set[0].value, plan[0].set[0].value);
    for (int i = 0; i < 2; i++) {
        mem_free(plan[i].set);
        mem_free(plan[i].milestones);
    }
    free(some.trial);
    end_search();
}
END_TEST

START_TEST(halton_is_even)
{
    /* Every one of 27 cells of the second axis, base 3, has one of 27 points; 16 of the first. */
    int cell[27] = {0}, half[16] = {0};
    run_search("space: optimizer.lr log 1e-4 1e-1; optimizer.weight_decay uniform 0 0.27\n"
               "  trials: 27\n  rule: halton\n  seed: 5",
               2, 1);
    for (int i = 0; i < 27; i++) {
        double point[SPACE_MAX_AXES];
        ck_assert(space_read(search_space(m.self), &m.h.trial[i].plan, point));
        cell[(int)(point[1] * 100)]++;
        if (i < 16)
            half[(int)(axis_place(&search_space(m.self)->axis[0], point[0]) * 16)]++;
    }
    for (int i = 0; i < 27; i++)
        ck_assert_int_eq(cell[i], 1);
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(half[i], 1);
    end_search();
}
END_TEST

#define ONE_AXIS "space: optimizer.weight_decay uniform 0 0.3\n  rule: random\n  "

START_TEST(halving_keeps_a_third)
{
    int left[4] = {0};
    struct search_facts f;
    run_search(ONE_AXIS "trials: 27\n  prune: halving\n  milestones: 9\n  seed: 3", 5, 1);
    for (int i = 0; i < m.h.n; i++)
        for (int k = 0; k < 4; k++)
            left[k] +=
                m.h.trial[i].n_reached >= k && (k > 0 || m.h.trial[i].state != TRIAL_DIVERGED);
    ck_assert_int_eq(m.h.trial[0].plan.n_milestones, 3);
    ck_assert_double_eq(m.h.trial[0].plan.milestones[0], RUN_TOKENS / 27.0);
    ck_assert_double_eq(m.h.trial[0].plan.milestones[2], RUN_TOKENS / 3.0);
    /* Those that diverged did not reach the first milestone. */
    ck_assert_int_eq(left[1], 27 - count(TRIAL_DIVERGED));
    ck_assert_int_eq(left[2], 9);
    ck_assert_int_eq(left[3], 3);
    ck_assert_int_eq(count(TRIAL_DONE), 1);
    /* The bowl's order is the same at every milestone: the best one is left. */
    for (int i = 0; i < m.h.n; i++)
        if (m.h.trial[i].state == TRIAL_DONE)
            for (int j = 0; j < m.h.n; j++)
                ck_assert(isnan(m.h.trial[j].value) || m.h.trial[j].value >= m.h.trial[i].value);
    search_facts(m.self, &f);
    ck_assert_int_eq(f.n_trials, 27);
    ck_assert_double_eq(f.most_tokens, 27.0 * RUN_TOKENS);
    ck_assert_double_eq(f.tokens, 27 * 3000 + 9 * 6000 + 3 * 18000 + 54000);
    end_search();
}
END_TEST

START_TEST(asha_gives_most_up)
{
    run_search(ONE_AXIS "trials: 60\n  prune: asha\n  milestones: 2", 4, 1);
    /* Its own rule, taken from the finished history. */
    for (int i = 0; i < m.h.n; i++)
        for (int k = 0; k < m.h.trial[i].n_reached; k++) {
            double own = trial_value_at(&m.h.trial[i], k);
            int n = 1, better = 0;
            for (int t = 0; t <= i - conf.study.ahead; t++) {
                n += m.h.trial[t].n_reached > k;
                better += m.h.trial[t].n_reached > k && trial_value_at(&m.h.trial[t], k) < own;
            }
            bool stays = better <= (n / 3 > 1 ? n / 3 - 1 : 0);
            bool stayed = m.h.trial[i].n_reached > k + 1 || m.h.trial[i].state == TRIAL_DONE;
            ck_assert_msg(stays == stayed, "trial %d at milestone %d", i, k);
        }
    ck_assert_int_gt(count(TRIAL_PRUNED), 30);
    ck_assert_int_gt(count(TRIAL_DONE), 0);
    /* What was foreseen, for losses in no order, is what it took, to a third. */
    struct search_facts f;
    double tokens = 0;
    search_facts(m.self, &f);
    for (int i = 0; i < m.h.n; i++)
        tokens += m.h.trial[i].tokens;
    ck_assert_double_eq_tol(tokens / f.tokens, 1, 0.33);
    ck_assert_double_lt(f.tokens, f.most_tokens / 2);
    end_search();
}
END_TEST

START_TEST(median_waits_for_five)
{
    run_search(ONE_AXIS "trials: 40\n  prune: median", 4, 1);
    int first = -1, done = 0;
    for (int i = 0; i < m.h.n && first < 0; i++)
        if (m.h.trial[i].state == TRIAL_PRUNED)
            first = i;
    ck_assert_int_gt(first, 0);
    for (int i = 0; i <= first - conf.study.ahead; i++)
        done += m.h.trial[i].state == TRIAL_DONE;
    ck_assert_int_ge(done, 5);
    ck_assert_double_eq(m.h.trial[0].plan.milestones[0], floor(RUN_TOKENS / 5.0));
    ck_assert_ptr_nonnull(strstr(m.h.trial[first].why, "median"));
    end_search();
}
END_TEST

/* The worst quarter of each milestone ends there, and its successors go on from the best. */
START_TEST(pbt_copies_the_best)
{
    enum { POPULATION = 8, MILESTONES = 3, REPLACED = 2 };
    run_search("space: optimizer.lr log 1e-4 9e-2; optimizer.weight_decay uniform 0.01 0.3\n"
               "  rule: pbt\n  trials: 8\n  milestones: 3",
               3, 1);
    ck_assert_int_eq(m.h.n, POPULATION + MILESTONES * REPLACED);
    ck_assert_int_eq(count(TRIAL_PRUNED) + count(TRIAL_DIVERGED), MILESTONES * REPLACED);
    ck_assert_int_eq(count(TRIAL_DONE), POPULATION);
    for (int i = POPULATION; i < m.h.n; i++) {
        const struct trial *t = &m.h.trial[i], *p = &m.h.trial[t->plan.parent];
        int g = (i - POPULATION) / REPLACED;
        ck_assert_int_lt(t->plan.parent, i);
        ck_assert_double_eq(t->plan.parent_tokens, floor(RUN_TOKENS * (g + 1) / 4.0));
        ck_assert_int_eq(t->plan.n_milestones, MILESTONES - g - 1);
        for (int j = 0; j < t->plan.n_set; j++) {
            double mine, theirs;
            ck_assert(parse_f64(t->plan.set[j].value, &mine));
            ck_assert(parse_f64(p->plan.set[j].value, &theirs));
            ck_assert_msg(fabs(mine / theirs - 1.2) < EIGHT_DIGITS ||
                              fabs(mine / theirs - 0.8) < EIGHT_DIGITS || mine == 0.3 ||
                              mine == 0.01 || mine == 9e-2 || mine == 1e-4,
                          "%s: %g from %g", t->plan.set[j].key, mine, theirs);
        }
    }
    end_search();
}
END_TEST

START_TEST(lengths_are_equal_in_tokens)
{
    struct conf_origins o;
    char *text = "run.dir: x\nmodel.preset: gemma3-270m\ndata.train: a.h5\nbatch: {global: 4, "
                 "seq_len: 10}\ntrain.steps: 50\nsearch: {rule: random, space: {batch.global: int "
                 "1 8, optimizer.lr: log 1e-3 1e-2}}\n";
    struct trial_plan plan = {0};
    struct history none = {NULL, 0};
    enum answer answer;
    ck_assert_int_eq(conf_load_text(&conf, &o, text, "job.yaml"), OK);
    ck_assert_msg(PLANNER_SEARCH.open(&m.self, NULL, &conf) == OK, "%s", err_message());
    ck_assert_int_eq(PLANNER_SEARCH.propose(m.self, &none, &plan, &answer), OK);
    ck_assert_str_eq(trial_setting(&plan, "train.tokens"), "2000");
    mem_free(plan.set);
    mem_free(plan.milestones);
    PLANNER_SEARCH.close(m.self);
}
END_TEST

START_TEST(budget_ends_it)
{
    run_search(SPACE "rule: random\nstudy.budget: 850k", 4, 1);
    ck_assert_int_eq(m.h.n, 10);
    end_search();
    /* What trials that were given up leave over goes to more trials. */
    run_search(ONE_AXIS "trials: 60\n  prune: asha\nstudy.budget: 850k", 4, 1);
    double tokens = 0;
    for (int i = 0; i < m.h.n; i++)
        tokens += m.h.trial[i].tokens;
    ck_assert_int_gt(m.h.n, 10);
    ck_assert_double_le(tokens, 850e3);
    end_search();
}
END_TEST

START_TEST(errors_name_the_key)
{
    static const struct {
        const char *more, *part;
    } rows[] = {
        {"trials: 3", "search.space is empty"},
        {"space: optimizer.name choice adamw lyon", "search.space gives optimizer.name=lyon"},
        {"space: optimizer.name choice adamw lyon", "lion"},
        {"space: batch.global int 0 8", "search.space gives batch.global=0"},
        {"space: optimizer.lr log 1e-4 1e-1\n  prune: asha\n  milestones: 0", "search.milestones"},
        {"space: optimizer.lr log 1e-4 1e-1\n  prune: asha\n  milestones: 9", "set it to 6,"},
        {"space: optimizer.lr log 1e-4 1e-1\n  rule: pbt\n  prune: asha", "search.prune=none"},
        {"space: optimizer.lr log 1e-4 1e-1\n  rule: pbt\n  trials: 1", "search.trials"},
        {"space: model.layers int 2 4\n  rule: pbt", "model.layers cannot change"},
        {"space: optimizer.lr log 1e-4 1e-1; optimizer.beta1 uniform 0 0.9; "
         "optimizer.weight_decay uniform 0 1\n  rule: grid\n  points: 1000",
         "search.points"},
        {"space: optimizer.lr log 1e-4 1e-1\nstudy.budget: 80k", "one trial takes"},
        {"space: optimizer.lr log 1e-4 1e-1\n  prune: halving\nstudy.budget: 100k", "study.budget"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(open_with(rows[i].more) == E_CONFIG, "%s is taken", rows[i].more);
        ck_assert_msg(strstr(err_message(), rows[i].part) != NULL, "%s: %s", rows[i].more,
                      err_message());
        ck_assert_ptr_null(m.self);
    }
}
END_TEST

START_TEST(headline_names_the_best)
{
    char text[256];
    ck_assert_int_eq(open_with(SPACE "rule: tpe"), OK);
    struct history none = {NULL, 0};
    PLANNER_SEARCH.headline(m.self, &none, text, sizeof text);
    ck_assert_str_eq(text, "no trial has a loss yet");
    PLANNER_SEARCH.close(m.self);
    run_search(SPACE "rule: tpe", 2, 1);
    PLANNER_SEARCH.headline(m.self, &m.h, text, sizeof text);
    int best = 0;
    for (int i = 0; i < m.h.n; i++)
        if (m.h.trial[i].state == TRIAL_DONE && !(m.h.trial[best].value < m.h.trial[i].value))
            best = i;
    double loss;
    int number;
    ck_assert_int_eq(sscanf(text, "best %lf by trial %d: optimizer.lr ", &loss, &number), 2);
    ck_assert_int_eq(number, best);
    ck_assert_double_eq_tol(loss, m.h.trial[best].value, 1e-4); /* its digits */
    end_search();
}
END_TEST

/* Of x² + y²/25 over [-½, ½]², whose parts have variances 1/180 and 1/180/625, x has 625/626; the
 * third axis has none. */
static double ellipse(const struct space *s, const double *point, double share)
{
    (void)share;
    double x = axis_place(&s->axis[0], point[0]) - 0.5, y = axis_place(&s->axis[1], point[1]) - 0.5;
    return x * x + y * y / 25;
}

START_TEST(importance_finds_what_matters)
{
    double share[SPACE_MAX_AXES];
    int n;
    ck_assert_int_eq(open_with("space: optimizer.lr log 1e-4 1e-1; optimizer.weight_decay uniform "
                               "0 0.3; schedule.name choice cosine linear\n  rule: halton\n"
                               "  trials: 100"),
                     OK);
    m.loss = ellipse;
    sim_run(&m, 2, 1);
    ck_assert_int_eq(importance(search_space(m.self), &m.h, share, &n), OK);
    ck_assert_int_eq(n, 100);
    ck_assert_double_gt(share[0], 0.85); /* a forest of 100 points smears a little over the rest */
    ck_assert_double_lt(share[1], 0.1);
    ck_assert_double_lt(share[2], 0.1);
    ck_assert_double_le(share[0] + share[1] + share[2], 1 + 1e-9);
    ck_assert_int_eq(importance_milestone(&m.h), AT_END);
    struct history few = {m.h.trial, IMPORTANCE_LEAST - 1};
    ck_assert_int_eq(importance(search_space(m.self), &few, share, &n), OK);
    ck_assert_int_eq(importance_milestone(&few), AT_NOTHING);
    ck_assert_double_nan(share[0]);
    end_search();
}
END_TEST

/* Where most trials are given up, they are compared at the milestone that enough of them reached.
 */
START_TEST(importance_goes_by_milestones)
{
    double share[SPACE_MAX_AXES];
    int n;
    ck_assert_int_eq(open_with("space: optimizer.lr log 1e-4 1e-1; optimizer.weight_decay uniform "
                               "0 0.3\n  rule: halton\n  trials: 54\n  prune: halving"),
                     OK);
    m.loss = ellipse;
    sim_run(&m, 2, 1);
    /* 54, 18, 6 and 2 come to the milestones. */
    ck_assert_int_eq(importance_milestone(&m.h), 1);
    ck_assert_int_eq(importance(search_space(m.self), &m.h, share, &n), OK);
    ck_assert_int_eq(n, 18);
    ck_assert(isfinite(share[0]) && isfinite(share[1]));
    end_search();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, workers_do_not_matter);
    tcase_add_test(t, grids_are_whole);
    tcase_add_test(t, random_trials_follow_from_their_number);
    tcase_add_test(t, halton_is_even);
    tcase_add_test(t, halving_keeps_a_third);
    tcase_add_test(t, asha_gives_most_up);
    tcase_add_test(t, median_waits_for_five);
    tcase_add_test(t, pbt_copies_the_best);
    tcase_add_test(t, lengths_are_equal_in_tokens);
    tcase_add_test(t, budget_ends_it);
    tcase_add_test(t, errors_name_the_key);
    tcase_add_test(t, headline_names_the_best);
    tcase_add_test(t, importance_finds_what_matters);
    tcase_add_test(t, importance_goes_by_milestones);
}

int main(void)
{
    return run_suite("study/search", add);
}
