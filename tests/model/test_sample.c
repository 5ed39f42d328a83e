/* What is drawn, from which set, and how often. */
#include "model/sample.h"

#include "check_main.h"

#include <math.h>
#include <stdbool.h>

enum { V = 8 };
/* Probabilities at temperature 1: .30 .02 .20 .02 .15 .20 .10 .01; ids 2 and 5 are equal. */
static const double probability[V] = {.30, .02, .20, .02, .15, .20, .10, .01};

static void fill(float logits[V])
{
    for (int i = 0; i < V; i++)
        logits[i] = (float)(log(probability[i]) + 3);
    logits[5] = logits[2];
}

static int32_t draw(const struct sampling *s, uint64_t stream, uint64_t position)
{
    float logits[V], p[V];
    int32_t id[V];
    fill(logits);
    return sample_token(s, logits, V, stream, position, p, id);
}

/* Pearson's statistic of n draws against weights (0: never), and its degrees of freedom. */
static double chi_square(const struct sampling *s, const double want[V], int n, int *dof)
{
    int count[V] = {0};
    double sum = 0, chi = 0;
    for (int i = 0; i < n; i++)
        count[draw(s, 5, (uint64_t)i)]++;
    *dof = -1;
    for (int i = 0; i < V; i++)
        sum += want[i];
    for (int i = 0; i < V; i++) {
        double expect = n * want[i] / sum;
        if (want[i] == 0)
            ck_assert_int_eq(count[i], 0);
        else
            chi += (count[i] - expect) * (count[i] - expect) / expect;
        *dof += want[i] > 0;
    }
    return chi;
}

/* The statistic has mean dof and variance 2·dof; 5 deviations are passed once in a million. */
static void hold_distribution(struct sampling s, const double want[V])
{
    int dof;
    double chi = chi_square(&s, want, 40000, &dof);
    ck_assert_double_le(chi, dof + 5 * sqrt(2.0 * dof));
}

START_TEST(follows_the_probabilities)
{
    hold_distribution((struct sampling){1, 0, 1, 9}, probability);
    double flat[V], sharp[V];
    for (int i = 0; i < V; i++) {
        flat[i] = sqrt(probability[i]);
        sharp[i] = probability[i] * probability[i];
    }
    hold_distribution((struct sampling){2, 0, 1, 10}, flat);
    hold_distribution((struct sampling){.5, 0, 1, 11}, sharp);
}
END_TEST

START_TEST(top_k_keeps_the_greatest)
{
    /* The tie between 2 and 5 goes to 2. */
    static const double two[V] = {.30, 0, .20}, four[V] = {.30, 0, .20, 0, .15, .20};
    hold_distribution((struct sampling){1, 2, 1, 3}, two);
    hold_distribution((struct sampling){1, 4, 1, 4}, four);
    hold_distribution((struct sampling){1, V, 1, 5}, probability);
    hold_distribution((struct sampling){1, V + 9, 1, 5}, probability);
    for (uint64_t i = 0; i < 50; i++)
        ck_assert_int_eq(draw(&(struct sampling){1, 1, 1, 6}, 0, i), 0);
}
END_TEST

START_TEST(top_p_keeps_the_smallest_set)
{
    /* .30; .30+.20; .30+.20+.20; +.15 = .85; +.10 = .95 */
    static const double one[V] = {.30}, two[V] = {.30, 0, .20}, three[V] = {.30, 0, .20, 0, 0, .20},
                        five[V] = {.30, 0, .20, 0, .15, .20, .10};
    hold_distribution((struct sampling){1, 0, .29, 3}, one);
    hold_distribution((struct sampling){1, 0, .31, 3}, two);
    hold_distribution((struct sampling){1, 0, .51, 3}, three);
    hold_distribution((struct sampling){1, 0, .90, 3}, five);
    hold_distribution((struct sampling){1, 0, 0, 3}, one);
}
END_TEST

START_TEST(top_p_counts_within_top_k)
{
    /* Of {.30 .20 .20} 0.6 is reached with .30/.70 + .20/.70 = .71. */
    static const double two[V] = {.30, 0, .20};
    hold_distribution((struct sampling){1, 3, .6, 3}, two);
}
END_TEST

START_TEST(temperature_0_takes_the_greatest)
{
    float equal[V] = {0}, p[V];
    int32_t id[V];
    struct sampling s = {0, 0, 1, 1};
    for (uint64_t i = 0; i < 20; i++)
        ck_assert_int_eq(draw(&s, 0, i), 0);
    equal[3] = equal[6] = 1;
    ck_assert_int_eq(sample_token(&s, equal, V, 0, 0, p, id), 3);
}
END_TEST

START_TEST(depends_on_seed_stream_and_position_alone)
{
    struct sampling a = {1, 0, 1, 1}, b = {1, 0, 1, 2};
    int other_seed = 0, other_stream = 0, other_position = 0;
    for (uint64_t i = 0; i < 100; i++) {
        ck_assert_int_eq(draw(&a, 3, i), draw(&a, 3, i));
        other_seed += draw(&a, 3, i) != draw(&b, 3, i);
        other_stream += draw(&a, 3, i) != draw(&a, 4, i);
        other_position += draw(&a, 3, i) != draw(&a, 3, i + 1);
    }
    ck_assert_int_gt(other_seed, 50);
    ck_assert_int_gt(other_stream, 50);
    ck_assert_int_gt(other_position, 50);
}
END_TEST

/* Broken logits must not lead out of the vocabulary. */
START_TEST(stays_in_the_vocabulary)
{
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f};
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++)
        for (int mode = 0; mode < 3; mode++) {
            float logits[V], p[V];
            int32_t id[V];
            struct sampling s = {1, mode == 1 ? 3 : 0, mode == 2 ? .5 : 1, 1};
            for (int i = 0; i < V; i++)
                logits[i] = odd[k];
            for (uint64_t i = 0; i < 20; i++) {
                int32_t drawn = sample_token(&s, logits, V, 0, i, p, id);
                ck_assert(drawn >= 0 && drawn < V);
            }
        }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, follows_the_probabilities);
    tcase_add_test(t, top_k_keeps_the_greatest);
    tcase_add_test(t, top_p_keeps_the_smallest_set);
    tcase_add_test(t, top_p_counts_within_top_k);
    tcase_add_test(t, temperature_0_takes_the_greatest);
    tcase_add_test(t, depends_on_seed_stream_and_position_alone);
    tcase_add_test(t, stays_in_the_vocabulary);
}

int main(void)
{
    return run_suite("model/sample", add);
}
