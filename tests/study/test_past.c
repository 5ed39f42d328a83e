/* What past trials say of rates: which of them count, and as what. */
#include "base/err.h"
#include "check_main.h"
#include "optim/lrscale.h"
#include "study/best_rate.h"
#include "study/past.h"

#include <math.h>
#include <string.h>

/* A parabola through points on a parabola. */
#define EXACT 1e-9

START_TEST(the_best_rate_is_between_worse_ones)
{
    struct rate_score x[4];
    for (int i = 0; i < 4; i++) {
        double lr = 1e-3 * pow(2, i), away = log(lr / 2.5e-3);
        x[3 - i] = (struct rate_score){lr, 2 + away * away};
    }
    struct best_rate b = best_rate_of(x, 4);
    ck_assert_int_eq(b.kind, BEST_WITHIN);
    ck_assert_double_eq_tol(b.lr / 2.5e-3, 1, EXACT);
    ck_assert_double_eq_tol(b.error, log(2) / sqrt(12), EXACT);
    ck_assert_int_eq(b.n_rates, 4);
}
END_TEST

START_TEST(edges_are_told)
{
    struct rate_score down[3] = {{1, 3}, {2, 2}, {4, 1}}, up[3] = {{1, 1}, {2, 2}, {4, 3}};
    struct rate_score none[3] = {{1, INFINITY}, {2, INFINITY}, {4, INFINITY}};
    struct rate_score wall[3] = {{1, 3}, {2, 2}, {4, INFINITY}};
    ck_assert_int_eq(best_rate_of(down, 3).kind, BEST_HIGHEST);
    ck_assert_int_eq(best_rate_of(up, 3).kind, BEST_LOWEST);
    ck_assert_int_eq(best_rate_of(up, 2).kind, BEST_FEW);
    ck_assert_int_eq(best_rate_of(none, 3).kind, BEST_NONE);
    ck_assert_int_eq(best_rate_of(none, 0).kind, BEST_NONE);
    /* Beside one that diverged the rate stands for itself, and less is known of it. */
    struct best_rate b = best_rate_of(wall, 3);
    ck_assert_int_eq(b.kind, BEST_WITHIN);
    ck_assert_double_eq(b.lr, 2);
    ck_assert_double_eq_tol(b.error, log(2) / sqrt(3), EXACT);
}
END_TEST

START_TEST(seeds_count_as_their_mean)
{
    struct rate_score x[5] = {{2, 1.0}, {1, 2}, {4, 1.9}, {2, 3.0}, {8, 5}};
    struct best_rate b = best_rate_of(x, 5);
    ck_assert_int_eq(b.n_rates, 4);
    ck_assert_double_eq(b.score, 1.9);
}
END_TEST

static struct past_sample sample(const char *group, double batch, double lr, double score,
                                 double target)
{
    struct past_sample s = {.at = {batch, 1e6, 5e5}, .lr = lr, .score = score, .target = target};
    snprintf(s.group, sizeof s.group, "%s", group);
    snprintf(s.from, sizeof s.from, "study %s, batch %g", group, batch);
    return s;
}

/* Three rates around `best`. */
static int around(struct past_sample *s, const char *group, double batch, double best)
{
    for (int i = -1; i <= 1; i++)
        *s++ = sample(group, batch, best * pow(2, i), 2 + i * i, 0);
    return 3;
}

START_TEST(groups_give_a_point_each_and_the_law)
{
    struct past p = {0};
    struct past_sample s[16];
    struct config job = {0};
    struct prior_guess g;
    struct prior law;
    int n = around(s, "a", 1e3, 1e-3);
    n += around(s + n, "b", 16e3, 4e-3);
    s[n++] = sample("c", 4e3, 1e-3, 2, 0);
    s[n++] = sample("c", 4e3, 2e-3, 2.1, 0);
    snprintf(job.optimizer.name, sizeof job.optimizer.name, "adamw");
    ck_assert_int_eq(past_judge(&p, s, n), OK);
    ck_assert_int_eq(p.n, 2);
    ck_assert_int_eq(p.n_skip, 1);
    ck_assert_str_eq(p.skip[0].why, "fewer than three rates were tried");
    const double at[PRIOR_N] = {4000, 1e6, 5e5};
    ck_assert(past_law(&law, &p, &job));
    g = prior_guess(&law, at);
    ck_assert_double_eq_tol(g.lr / 2e-3, 1, EXACT);
    struct str text = {0};
    past_show(&text, &p, &job);
    ck_assert_ptr_nonnull(strstr(text.s, "study c, batch 4000"));
    ck_assert_ptr_nonnull(strstr(text.s, "from the data"));
    str_release(&text);
    past_release(&p);
}
END_TEST

START_TEST(runs_of_other_lengths_do_not_compare)
{
    struct past p = {0};
    struct past_sample s[4];
    around(s, "a", 1e3, 1e-3);
    s[3] = sample("a", 1e3, 4e-3, 0.5, 0); /* better, but longer than ... */
    s[3].at[PRIOR_TOKENS] = 2e6;
    ck_assert_int_eq(past_judge(&p, s, 4), OK);
    ck_assert_int_eq(p.n, 0); /* ... the others, which then say nothing */
    ck_assert_int_eq(p.n_skip, 1);
    past_release(&p);
}
END_TEST

START_TEST(with_a_target_the_fewest_tokens_are_best)
{
    struct past p = {0};
    struct past_sample s[4];
    for (int i = 0; i < 4; i++) {
        s[i] = sample("a", 1e3, 1e-3 * pow(2, i), i == 3 ? INFINITY : 1e6 - 1e5 * i, 2.1);
        s[i].at[PRIOR_TOKENS] = s[i].score;
    }
    ck_assert_int_eq(past_judge(&p, s, 4), OK);
    ck_assert_int_eq(p.n, 1);
    ck_assert_double_eq(p.find[0].point.lr, 4e-3);
    ck_assert_double_eq(p.find[0].point.at[PRIOR_TOKENS], 8e5);
    past_release(&p);
}
END_TEST

START_TEST(without_a_point_there_is_no_rate)
{
    struct past p = {.folder = "runs"};
    struct config job = {0};
    struct prior law;
    struct str text = {0};
    snprintf(job.optimizer.name, sizeof job.optimizer.name, "adamw");
    ck_assert(!past_law(&law, &p, &job));
    ck_assert_int_eq(past_without(&p, &job), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "study.center=range"));
    past_show(&text, &p, &job);
    ck_assert_ptr_nonnull(strstr(text.s, "nothing to fit"));
    str_release(&text);
    err_clear();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, the_best_rate_is_between_worse_ones);
    tcase_add_test(t, edges_are_told);
    tcase_add_test(t, seeds_count_as_their_mean);
    tcase_add_test(t, groups_give_a_point_each_and_the_law);
    tcase_add_test(t, runs_of_other_lengths_do_not_compare);
    tcase_add_test(t, with_a_target_the_fewest_tokens_are_best);
    tcase_add_test(t, without_a_point_there_is_no_rate);
}

int main(void)
{
    return run_suite("study/past", add);
}
