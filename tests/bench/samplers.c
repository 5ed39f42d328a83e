/* What a search finds: the median best of 50 searches on standard functions, by random points, by
 * Parzen estimators and by a Gaussian process, beside Optuna's where that is there (python3-optuna;
 * its searches take some minutes). Exits 1 when Optuna's are better beyond chance.
 * For `make bench`: timeout: 1800 */
#include "base/err.h"
#include "study/gp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_SEEDS = 50, N_STARTUP = 10, N_CANDIDATES = 24, MOST_TRIALS = 100 };
#define BEYOND_CHANCE 2.6 /* of a normal deviate: five times in a thousand */

static double place(const struct space *s, const double *point, int i)
{
    return axis_place(&s->axis[i], point[i]);
}

static double branin(const struct space *s, const double *point)
{
    double x = 15 * place(s, point, 0) - 5, y = 15 * place(s, point, 1);
    double b = y - 5.1 / (4 * M_PI * M_PI) * x * x + 5 / M_PI * x - 6;
    return b * b + 10 * (1 - 1 / (8 * M_PI)) * cos(x) + 10;
}

static double hartmann6(const struct space *s, const double *point)
{
    static const double a[4][6] = {{10, 3, 17, 3.5, 1.7, 8},
                                   {0.05, 10, 17, 0.1, 8, 14},
                                   {3, 3.5, 1.7, 10, 17, 8},
                                   {17, 8, 0.05, 10, 0.1, 14}};
    static const double p[4][6] = {{0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886},
                                   {0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991},
                                   {0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650},
                                   {0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381}};
    static const double c[4] = {1, 1.2, 3, 3.2};
    double sum = 0;
    for (int r = 0; r < 4; r++) {
        double square = 0;
        for (int i = 0; i < 6; i++) {
            double off = place(s, point, i) - p[r][i];
            square += a[r][i] * off * off;
        }
        sum -= c[r] * exp(-square);
    }
    return sum;
}

static double rosenbrock4(const struct space *s, const double *point)
{
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        double x = 4 * place(s, point, i) - 2, y = 4 * place(s, point, i + 1) - 2;
        sum += 100 * (y - x * x) * (y - x * x) + (1 - x) * (1 - x);
    }
    return sum;
}

static double mixed(const struct space *s, const double *point)
{
    static const double rest[] = {0, 0.05, 0.1};
    double x = place(s, point, 0) - 0.3, n = point[1] - 5;
    double y = isnan(point[3]) ? 0 : place(s, point, 3) - 0.7;
    return x * x + n * n / 50 + rest[(int)point[2]] + y * y;
}

#define A "optimizer.weight_decay uniform 0 1;"
#define B "regularize.dropout uniform 0 0.5;"
#define C "regularize.z_loss uniform 0 1;"
#define D "schedule.final uniform 0 1;"
#define E "sample.top_p uniform 0 1;"
#define F "sample.temperature uniform 0 1"

static const struct problem {
    const char *name, *space;
    double (*loss)(const struct space *s, const double *point);
    int n_trials;
} problems[] = {
    {"Branin", A B, branin, 60},
    {"Hartmann, 6 axes", A B C D E F, hartmann6, 100},
    {"Rosenbrock, 4 axes", A B C D, rosenbrock4, 100},
    {"choice and condition",
     A "model.layers int 1 12; schedule.name choice cosine linear wsd; schedule.final uniform 0 1 "
       "if schedule.name=cosine",
     mixed, 60},
};
enum { N_PROBLEMS = sizeof problems / sizeof problems[0] };

static void must(int rc)
{
    if (rc != OK)
        fatal(rc, "%s", err_message());
}

enum sampler { BY_CHANCE, BY_TPE, BY_GP };

static double search(const struct problem *p, const struct space *s, enum sampler by, uint64_t seed)
{
    static double point[MOST_TRIALS][SPACE_MAX_AXES];
    struct seen seen[MOST_TRIALS];
    double u[SPACE_MAX_AXES], best = INFINITY;
    for (int t = 0; t < p->n_trials; t++) {
        struct dice d = {seed, (uint64_t)t, 0};
        for (int i = 0; i < s->n; i++)
            u[i] = dice_uniform(&d);
        space_at(s, u, point[t]);
        if (by == BY_TPE && t >= N_STARTUP)
            must(tpe_propose(point[t], s, seen, t, N_CANDIDATES, &d));
        if (by == BY_GP && t >= N_STARTUP)
            must(gp_propose(point[t], s, seen, t, &d));
        seen[t] = (struct seen){point[t], SEEN_DONE, p->loss(s, point[t])};
        best = fmin(best, seen[t].value);
    }
    return best;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *v)
{
    qsort(v, N_SEEDS, sizeof *v, by_value);
    return 0.5 * (v[N_SEEDS / 2 - 1] + v[N_SEEDS / 2]);
}

/* How many deviations the first ones are worse than the others: Mann and Whitney's test. */
static double worse_by(const double *ours, const double *theirs)
{
    double above = 0, n = N_SEEDS;
    for (int i = 0; i < N_SEEDS; i++)
        for (int j = 0; j < N_SEEDS; j++)
            above += ours[i] > theirs[j] ? 1 : ours[i] == theirs[j] ? 0.5 : 0;
    return (above - n * n / 2) / sqrt(n * n * (2 * n + 1) / 12);
}

static FILE *ask_optuna(void)
{
    const char *python = access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
    char command[128];
    snprintf(command, sizeof command, "%s tests/bench/optuna_best.py", python);
    return popen(command, "r");
}

static bool read_line(FILE *f, double *v)
{
    for (int i = 0; i < N_SEEDS; i++)
        if (f == NULL || fscanf(f, "%lf", &v[i]) != 1)
            return false;
    return true;
}

int main(void)
{
    FILE *optuna = ask_optuna();
    int rc = 0;
    printf("%-22s %6s %10s %10s %10s %10s  %s\n", "median best", "trials", "random", "tpe", "gp",
           "Optuna", "tpe worse by");
    for (int i = 0; i < N_PROBLEMS; i++) {
        struct space s;
        double best[3][N_SEEDS], theirs[N_SEEDS];
        must(space_parse(&s, problems[i].space));
        for (enum sampler by = BY_CHANCE; by <= BY_GP; by++)
            for (int k = 0; k < N_SEEDS; k++)
                best[by][k] = search(&problems[i], &s, by, (uint64_t)k + 1);
        printf("%-22s %6d %10.4g %10.4g %10.4g ", problems[i].name, problems[i].n_trials,
               median(best[BY_CHANCE]), median(best[BY_TPE]), median(best[BY_GP]));
        if (read_line(optuna, theirs)) {
            double deviations = worse_by(best[BY_TPE], theirs);
            printf("%10.4g  %+.1f deviations\n", median(theirs), deviations);
            rc |= deviations > BEYOND_CHANCE;
        } else {
            printf("%10s\n", "none here");
        }
        fflush(stdout);
        space_release(&s);
    }
    if (optuna != NULL)
        pclose(optuna);
    return rc;
}
