/* Parzen estimators: scores against Optuna's, draws against the density, proposals that find. */
#include "base/err.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check_main.h"
#include "study/tpe.h"
#include "study/trial_setting.h"

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

static void add(TCase *t)
{
    tcase_add_test(t, scores_are_optunas);
}

int main(void)
{
    return run_suite("study/tpe", add);
}
