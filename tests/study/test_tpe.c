/* Parzen estimators: scores against Optuna's, draws against the density, proposals that find. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "study/tpe.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* The contract's; sums of at most a few hundred kernels round far below it. */
#define SCORE_TOLERANCE 1e-9

enum { N_CANDIDATES = 24, MOST_SEEN = 400 };

static const struct {
    const char *kind, *text;
} kinds[] = {{"float", "optimizer.weight_decay uniform 0 0.3"},
             {"log", "optimizer.lr log 1e-5 1e-1"},
             {"int", "model.layers int 2 9"},
             {"intlog", "batch.global int 4 512 log"},
             {"choice", "schedule.name choice cosine linear wsd"}};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

/* One axis and a history of it. */
struct history_1 {
    struct space space;
    struct seen seen[MOST_SEEN];
    double point[MOST_SEEN], candidate[N_CANDIDATES], score[N_CANDIDATES];
    int n;
};
static struct history_1 h;

/* A tenth is running, a fifth was given up, a tenth does not have the axis. */
static void make_history(int kind, int n)
{
    ck_assert_int_eq(space_parse(&h.space, kinds[kind].text), OK);
    const struct axis *a = &h.space.axis[0];
    h.n = n;
    for (int i = 0; i < n; i++) {
        double u = rng_uniform(1, (uint64_t)kind, (uint64_t)i), r = rng_uniform(2, 7, (uint64_t)i);
        h.point[i] = rng_uniform(3, 7, (uint64_t)i) < 0.1 ? NAN : axis_at(a, u);
        h.seen[i] = (struct seen){&h.point[i], SEEN_DONE, (u - 0.3) * (u - 0.3)};
        if (r < 0.1)
            h.seen[i].step = h.seen[i].value = INFINITY;
        else if (r < 0.3)
            h.seen[i].step = -floor(r * 20);
    }
    for (int k = 0; k < N_CANDIDATES; k++)
        h.candidate[k] = axis_at(a, (k + 0.5) / N_CANDIDATES);
}

static void estimate(struct parzen *p, const bool *good, bool which)
{
    double value[MOST_SEEN];
    int m = 0;
    for (int i = 0; i < h.n; i++)
        if (good[i] == which && !isnan(h.point[i]))
            value[m++] = h.point[i];
    ck_assert_int_eq(parzen_init(p, &h.space.axis[0], value, m), OK);
}

static void score_candidates(void)
{
    struct parzen l, g;
    bool good[MOST_SEEN];
    int ended = 0;
    for (int i = 0; i < h.n; i++)
        ended += h.seen[i].step < INFINITY;
    ck_assert_int_eq(tpe_split(good, h.seen, h.n, tpe_n_good(ended)), OK);
    estimate(&l, good, true);
    estimate(&g, good, false);
    for (int k = 0; k < N_CANDIDATES; k++)
        h.score[k] = parzen_log(&l, h.candidate[k]) - parzen_log(&g, h.candidate[k]);
    parzen_release(&l);
    parzen_release(&g);
}

/* Writes the history as optuna_scores.py reads it. */
static void write_case(FILE *f, int kind)
{
    const struct axis *a = &h.space.axis[0];
    fprintf(f, "%s %.17g %.17g %d %d %d\n", kinds[kind].kind, a->low, a->high, a->n_values, h.n,
            N_CANDIDATES);
    for (int i = 0; i < h.n; i++)
        fprintf(f, "%.17g %.17g %.17g ", h.seen[i].step, h.seen[i].value, h.point[i]);
    fputc('\n', f);
    for (int k = 0; k < N_CANDIDATES; k++)
        fprintf(f, "%.17g ", h.candidate[k]);
    fputc('\n', f);
}

static const int sizes[] = {1, 10, 11, 25, 29, 60, 130, 400};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static void for_each_case(void (*visit)(FILE *f, int kind), FILE *f)
{
    for (int kind = 0; kind < N_KINDS; kind++)
        for (int i = 0; i < N_SIZES; i++) {
            make_history(kind, sizes[i]);
            visit(f, kind);
            space_release(&h.space);
        }
}

static void compare_case(FILE *f, int kind)
{
    score_candidates();
    for (int k = 0; k < N_CANDIDATES; k++) {
        double theirs;
        ck_assert_int_eq(fscanf(f, "%lf", &theirs), 1);
        ck_assert_msg(fabs(theirs - h.score[k]) <= SCORE_TOLERANCE * fmax(1, fabs(theirs)),
                      "%s, %d trials, candidate %d: %.17g, Optuna %.17g", kinds[kind].kind, h.n, k,
                      h.score[k], theirs);
    }
}

START_TEST(scores_are_optunas)
{
    char cases[] = "/tmp/tpe_cases_XXXXXX", command[256];
    int fd = mkstemp(cases);
    ck_assert_int_ge(fd, 0);
    FILE *f = fdopen(fd, "w");
    for_each_case(write_case, f);
    fclose(f);
    const char *python = access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
    snprintf(command, sizeof command, "%s tests/study/optuna_scores.py <%s", python, cases);
    f = popen(command, "r");
    ck_assert_ptr_nonnull(f);
    int first = fgetc(f);
    if (first != EOF) {
        ungetc(first, f);
        for_each_case(compare_case, f);
    }
    int status = pclose(f);
    unlink(cases);
    if (first == EOF) {
        printf("SKIP: no Optuna 3.1 (python3-optuna) to compare with\n");
        ck_assert_msg(WIFEXITED(status) &&
                          (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127),
                      "optuna_scores.py ended with status %d", status);
    }
}
END_TEST

/* The densities are what draws follow: shares of ten equal parts of the range. */
START_TEST(draws_follow_the_density)
{
    enum { N = 20000, PARTS = 10 };
    for (int kind = 0; kind < N_KINDS; kind++) {
        struct parzen p;
        struct dice d = {5, (uint64_t)kind, 0};
        double seen[4], by_draw[PARTS] = {0}, by_density[PARTS] = {0}, sum = 0;
        ck_assert_int_eq(space_parse(&h.space, kinds[kind].text), OK);
        const struct axis *a = &h.space.axis[0];
        for (int i = 0; i < 4; i++)
            seen[i] = axis_at(a, 0.2 + 0.2 * i);
        ck_assert_int_eq(parzen_init(&p, a, seen, 4), OK);
        for (int i = 0; i < N; i++) {
            double v = parzen_draw(&p, &d);
            by_draw[(int)fmin(axis_place(a, v) * PARTS, PARTS - 1)] += 1.0 / N;
        }
        /* Whole numbers and choices have shares; numbers are summed finely. Kernels are not
         * divided by their widths in the scores, so that theirs are no shares of one. */
        bool shares = a->choice || (a->whole && !a->log);
        int n = a->choice ? a->n_values : shares ? (int)(a->high - a->low + 1) : 0;
        for (int k = 0; k < n; k++) {
            double v = a->choice ? k : a->low + k, share = exp(parzen_log(&p, v));
            by_density[(int)(axis_place(a, v) * PARTS)] += share;
            sum += share;
        }
        if (shares)
            ck_assert_double_eq_tol(sum, 1, 1e-12);
        for (int k = 0; k < PARTS && shares; k++)
            ck_assert_double_eq_tol(by_draw[k], by_density[k], 5 * sqrt(0.25 / N)); /* 5 sigma */
        for (int k = 2; k < 8 && !a->choice; k += 2)
            ck_assert_double_gt(by_draw[k] + by_draw[k - 1], 0.05);
        parzen_release(&p);
        space_release(&h.space);
    }
}
END_TEST

START_TEST(good_trials_are_a_tenth)
{
    static const int rows[][2] = {{0, 0},    {1, 1},    {10, 1},  {11, 2},
                                  {100, 10}, {250, 25}, {999, 25}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_int_eq(tpe_n_good(rows[i][0]), rows[i][1]);
}
END_TEST

/* Whole trials come before those given up late, these before those given up early, then diverged
 * and running ones; of equals the older. */
START_TEST(trials_have_an_order)
{
    double x = 0;
    struct seen seen[] = {{&x, INFINITY, INFINITY},
                          {&x, 0, INFINITY},
                          {&x, -1, 0.1},
                          {&x, -3, 0.5},
                          {&x, -3, 0.4},
                          {&x, SEEN_DONE, 9},
                          {&x, SEEN_DONE, 8},
                          {&x, SEEN_DONE, 8}};
    static const int order[] = {6, 7, 5, 4, 3, 2, 1, 0};
    enum { N = sizeof order / sizeof order[0] };
    bool good[N];
    for (int n = 0; n <= N; n++) {
        ck_assert_int_eq(tpe_split(good, seen, N, n), OK);
        for (int k = 0; k < N; k++)
            ck_assert_int_eq(good[order[k]], k < n);
    }
}
END_TEST

/* A table of Optuna 3.1's scores, for where there is none: of the first, a middle and the last
 * candidate after 29 trials. */
static const double table[N_KINDS][3] = {
    {1.241693964988559, 1.6245056217760399, 1.0911493684522517},
    {1.2645998023094134, 1.6381323777256647, 0.79838182481496234},
    {0.37071385697238046, 0.093714100950913926, -1.4275658379849623},
    {1.4226898009107642, 1.6798822035239711, 0.97629349772253948},
    {0.14842000511827336, 0.28998356944006021, -0.62630716243409501},
};

START_TEST(scores_are_those_of_the_table)
{
    static const int at[] = {0, 11, N_CANDIDATES - 1};
    for (int kind = 0; kind < N_KINDS; kind++) {
        make_history(kind, 29);
        score_candidates();
        for (int k = 0; k < 3; k++)
            ck_assert_msg(fabs(h.score[at[k]] - table[kind][k]) <= SCORE_TOLERANCE,
                          "%s, candidate %d: %.17g", kinds[kind].kind, at[k], h.score[at[k]]);
        space_release(&h.space);
    }
}
END_TEST

/* Half a bowl, one half of which only one value of a choice opens. */
static double objective(const struct space *s, const double *point)
{
    double sum = 0;
    for (int i = 0; i < s->n; i++) {
        double u = isnan(point[i]) ? 1 : axis_place(&s->axis[i], point[i]);
        sum += (u - 0.3) * (u - 0.3);
    }
    return sum;
}

enum { N_TRIALS = 60, N_STARTUP = 10, N_SEEDS = 15 };

static double minimize(const struct space *s, uint64_t seed, bool learn)
{
    static double point[N_TRIALS][SPACE_MAX_AXES];
    struct seen seen[N_TRIALS];
    double u[SPACE_MAX_AXES], best = INFINITY;
    for (int t = 0; t < N_TRIALS; t++) {
        struct dice d = {seed, (uint64_t)t, 0};
        for (int i = 0; i < s->n; i++)
            u[i] = dice_uniform(&d);
        space_at(s, u, point[t]);
        if (learn && t >= N_STARTUP)
            ck_assert_int_eq(tpe_propose(point[t], s, seen, t, N_CANDIDATES, &d), OK);
        for (int i = 0; i < s->n; i++)
            ck_assert(isnan(point[t][i]) != space_applies(s, i, point[t]));
        seen[t] = (struct seen){point[t], SEEN_DONE, objective(s, point[t])};
        best = fmin(best, seen[t].value);
    }
    return best;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

START_TEST(finds_more_than_random_points)
{
    struct space s;
    double by_tpe[N_SEEDS], by_chance[N_SEEDS];
    ck_assert_int_eq(space_parse(&s, "optimizer.lr log 1e-5 1e-1; optimizer.weight_decay uniform 0 "
                                     "0.3; batch.global int 4 512 log; schedule.name choice cosine "
                                     "linear wsd; schedule.final uniform 0 1 if "
                                     "schedule.name=cosine"),
                     OK);
    for (int i = 0; i < N_SEEDS; i++) {
        by_tpe[i] = minimize(&s, (uint64_t)i + 1, true);
        by_chance[i] = minimize(&s, (uint64_t)i + 1, false);
    }
    qsort(by_tpe, N_SEEDS, sizeof *by_tpe, by_value);
    qsort(by_chance, N_SEEDS, sizeof *by_chance, by_value);
    ck_assert_msg(by_tpe[N_SEEDS / 2] < 0.5 * by_chance[N_SEEDS / 2],
                  "median %g, of random points %g", by_tpe[N_SEEDS / 2], by_chance[N_SEEDS / 2]);
    space_release(&s);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, scores_are_optunas);
    tcase_add_test(t, scores_are_those_of_the_table);
    tcase_add_test(t, draws_follow_the_density);
    tcase_add_test(t, good_trials_are_a_tenth);
    tcase_add_test(t, trials_have_an_order);
    tcase_add_test(t, finds_more_than_random_points);
}

int main(void)
{
    return run_suite("study/tpe", add);
}
