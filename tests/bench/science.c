/* What a trustworthy tool finds again: the experiments of SCIENCE, section 8, measured beside
 * expected. A text of its own is named by CARAT_SHAKESPEARE. Each rank trains by itself, so that
 * two take half the time; it asks for 4 to 10 minutes on two cores. Exit status 1 when a row
 * fails. For `make bench T=science`: ranks: 2 timeout: 1800 */
#include "bench/science.h"

#include "base/clock.h"
#include "par/window.h"
#include "study/critical.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Rates are 0.001·2^i, from RATE_LOW on. */
enum { RATE_LOW = -3, RATES = 11, BATCHES = 6, SEEDS = 3, TASKS = 128, QUARTERS = 4 };
enum { MIDDLE = 64, SMALL = 16 };
/* i of the rate that the linear rule comes to at B=256: 0.064. */
enum { LINEAR_RATE = 6 };
/* The first so many batches, to 64, are at or below the noise scale. */
enum { BELOW_NOISE = 4 };

static const int BATCH[BATCHES] = {1, 4, 16, 64, 128, 256};
static const double STEPS_KNOWN[BATCHES] = {2714, 745, 271, 128, 108, 93};
/* Where the search begins: i of the rate. */
static const int FIRST_RATE[BATCHES] = {0, 1, 2, 3, 3, 4};
static const double TARGET = 2.1;
/* A rate that takes so many times the best one's steps is given up. */
static const double GIVEN_UP = 2;
static const int STEPS_MOST[BATCHES] = {6000, 2000, 800, 400, 300, 300};

static const int WARMUP[] = {0, 5, 20, 40};
static const double WARMUP_KNOWN[] = {2.50, 2.40, 2.28, 2.23};
enum { WARMUPS = sizeof WARMUP / sizeof WARMUP[0] };

/* Experiment 8: each width as it is and by muP from the first one's rate; at the first they are one
 * and the same. Three rates are tried around the expected one, as i of the rate. */
enum { WIDTHS = 3, TRIED = 3 };
static const int WIDTH[WIDTHS] = {32, 64, 128};
static const int WIDTH_RATE[2][WIDTHS] = {{4, 3, 2}, {4, 4, 4}};

enum kind { SEARCH, WITH_WARMUP, CONSTANT, DECAYED, RANGE, NOISE, PLAIN, MUP };

struct task {
    enum kind kind;
    int i, rate; /* of the batch, warmup or width, and of the search's rate */
    int seed;    /* from 0 */
};

/* What the ranks share: results, and which task is next. */
struct board {
    _Atomic int next;
    bool tried[BATCHES][RATES];
    double steps[BATCHES][RATES][SEEDS], best[BATCHES]; /* best: of any seed */
    double warmup_loss[WARMUPS][SEEDS], constant[SEEDS], decayed[SEEDS];
    double noise[QUARTERS];
    struct range_suggestion range[SEEDS];
    double width_loss[2][WIDTHS][TRIED];
};

static struct comm world;
static struct science place;
static struct model_spec model;
static struct board *board;
static double begun_s;

static double rate_of(int rate)
{
    return 0.001 * pow(2, rate + RATE_LOW);
}

static void search(int b, int rate, int seed)
{
    const struct trial k = {.seed = seed + 1,
                            .batch = BATCH[b],
                            .steps = STEPS_MOST[b],
                            .lr = rate_of(rate),
                            .target = TARGET,
                            .warmup = -1};
    double most = GIVEN_UP * board->best[b];
    struct outcome o = science_train(&place, &model, &k, &most);
    board->steps[b][rate][seed] = o.steps;
    board->best[b] = fmin(board->best[b], o.steps);
    printf("  %5.0f s  B %3d  lr %-8.3g  %4.0f steps to %.1f\n", clock_now_s() - begun_s, k.batch,
           k.lr, o.steps, TARGET);
}

static double final_loss(const char *what, const struct model_spec *m, const struct trial *k)
{
    struct outcome o = science_train(&place, m, k, NULL);
    printf("  %5.0f s  B %3d  lr %-8.3g  %s: loss %.3f after %d steps\n", clock_now_s() - begun_s,
           k->batch, k->lr, what, o.loss, k->steps);
    return o.loss;
}

static void warm_up(int i, int seed)
{
    char what[32];
    const struct trial k = {.seed = seed + 1,
                            .batch = MIDDLE,
                            .steps = 100,
                            .lr = 0.032,
                            .warmup = WARMUP[i],
                            .unclipped = true};
    snprintf(what, sizeof what, "warmup %d", WARMUP[i]);
    board->warmup_loss[i][seed] = final_loss(what, &model, &k);
}

static double at_equal_tokens(const char *schedule, int seed)
{
    const struct trial k = {.seed = seed + 1,
                            .batch = SMALL,
                            .steps = 800,
                            .lr = 0.004,
                            .warmup = -1,
                            .schedule = schedule};
    return final_loss(schedule, &model, &k);
}

/* A column of the metrics by its name; -1 where this build does not measure it. */
static int column(const char *name)
{
    for (int i = 0; i < M_N; i++)
        if (strcmp(METRIC_COLUMNS[i].name, name) == 0)
            return i;
    return -1;
}

/* Ratios of the means of each quarter of a run: numerators and denominators are averaged apart. */
static void take_noise(const char *run_dir)
{
    double *rows;
    int64_t n, n_bad;
    int trace = column("noise_trace"), signal = column("noise_signal");
    must(metrics_read(run_dir, &rows, &n, &n_bad));
    for (int q = 0; q < QUARTERS && trace >= 0 && signal >= 0; q++) {
        double above = 0, below = 0;
        for (int64_t i = n * q / QUARTERS; i < n * (q + 1) / QUARTERS; i++) {
            double both = rows[i * M_N + trace] + rows[i * M_N + signal];
            above += isfinite(both) ? rows[i * M_N + trace] : 0;
            below += isfinite(both) ? rows[i * M_N + signal] : 0;
        }
        board->noise[q] = above / below;
    }
    mem_free(rows);
}

static void measure_noise(void)
{
    static struct trainer t;
    const struct trial k = {.seed = 1, .batch = MIDDLE, .steps = 128, .lr = 0.008, .warmup = -1};
    struct config c = science_job(&place, &k);
    if (column("noise_trace") < 0)
        return;
    log_quiet(true);
    must(trainer_init(&t, &c, &model, &place.alone, slice_of(clock_now_s(), 0)));
    must(train_loop(&t));
    trainer_release(&t);
    log_close();
    log_quiet(false);
    take_noise(c.run.dir);
    printf("  %5.0f s  B %3d  lr %-8.3g  noise scale by quarters\n", clock_now_s() - begun_s,
           k.batch, k.lr);
}

static void try_width(bool mup, int i, int tried)
{
    struct model_spec m = science_model(&place, WIDTH[i]);
    const struct trial k = {.seed = 1,
                            .batch = MIDDLE,
                            .steps = 120,
                            .lr = rate_of(WIDTH_RATE[mup][i] - RATE_LOW + tried - 1),
                            .warmup = -1};
    char what[32];
    if (mup) {
        m.mup_base = WIDTH[0];
        m.init_std = science_model(&place, WIDTH[0]).init_std;
    }
    must(spec_check(&m));
    snprintf(what, sizeof what, "width %d%s", WIDTH[i], mup ? " by muP" : "");
    board->width_loss[mup][i][tried] = final_loss(what, &m, &k);
}

static void run_task(const struct task *k)
{
    switch (k->kind) {
    case SEARCH:
        search(k->i, k->rate, k->seed);
        break;
    case WITH_WARMUP:
        warm_up(k->i, k->seed);
        break;
    case CONSTANT:
        board->constant[k->seed] = at_equal_tokens("constant", k->seed);
        break;
    case DECAYED:
        board->decayed[k->seed] = at_equal_tokens("linear", k->seed);
        break;
    case RANGE:
        board->range[k->seed] = science_range(&place, &model, SMALL, k->seed + 1);
        break;
    case NOISE:
        measure_noise();
        break;
    case PLAIN:
    case MUP:
        try_width(k->kind == MUP, k->i, k->rate);
        break;
    }
}

static double mean(const double v[SEEDS])
{
    double sum = 0;
    for (int i = 0; i < SEEDS; i++)
        sum += v[i] / SEEDS;
    return sum;
}

/* Geometric; INFINITY when one is. */
static double ratio_mean(const double v[SEEDS])
{
    double logs[SEEDS];
    for (int i = 0; i < SEEDS; i++)
        logs[i] = log(v[i]);
    return exp(mean(logs));
}

static double steps_of(int b, int rate)
{
    return board->tried[b][rate] ? ratio_mean(board->steps[b][rate]) : INFINITY;
}

static int best_rate(int b)
{
    int best = -1;
    for (int i = 0; i < RATES; i++)
        if (isfinite(steps_of(b, i)) && (best < 0 || steps_of(b, i) < steps_of(b, best)))
            best = i;
    return best;
}

static void add(struct task *list, int *n, enum kind kind, int i, int rate)
{
    for (int seed = 0; seed < SEEDS; seed++)
        list[(*n)++] = (struct task){kind, i, rate, seed};
}

/* The long ones first. */
static int first_tasks(struct task *list)
{
    int n = 0;
    for (int around = 0; around < 3; around++)
        for (int b = BATCHES - 1; b >= 0; b--)
            add(list, &n, SEARCH, b, FIRST_RATE[b] - RATE_LOW + (around == 2 ? -1 : around));
    for (int i = 0; i < WARMUPS; i++)
        add(list, &n, WITH_WARMUP, i, 0);
    add(list, &n, CONSTANT, 0, 0);
    add(list, &n, DECAYED, 0, 0);
    add(list, &n, RANGE, 0, 0);
    list[n++] = (struct task){.kind = NOISE};
    for (int i = WIDTHS - 1; i >= 0; i--)
        for (int tried = 0; tried < TRIED; tried++) {
            list[n++] = (struct task){.kind = PLAIN, .i = i, .rate = tried};
            if (i > 0)
                list[n++] = (struct task){.kind = MUP, .i = i, .rate = tried};
        }
    return n;
}

/* A best rate at the edge of what was tried says only that it lies further out; and the linear
 * rule's rate is tried in any case. */
static int further_tasks(struct task *list)
{
    int n = 0, large = BATCHES - 1, linear = LINEAR_RATE - RATE_LOW;
    for (int b = BATCHES - 1; b >= 0; b--) {
        int best = best_rate(b);
        for (int side = -1; side <= 1 && best >= 0; side += 2)
            if (best + side >= 0 && best + side < RATES && !board->tried[b][best + side])
                add(list, &n, SEARCH, b, best + side);
    }
    if (n == 0 && !board->tried[large][linear])
        add(list, &n, SEARCH, large, linear);
    return n;
}

static void run_tasks(const struct task *list, int n)
{
    int k;
    MPI_Barrier(world.world);
    if (world.rank == 0)
        atomic_store(&board->next, 0);
    for (int i = 0; i < n && world.rank == 0; i++)
        if (list[i].kind == SEARCH)
            board->tried[list[i].i][list[i].rate] = true;
    MPI_Barrier(world.world);
    while ((k = atomic_fetch_add(&board->next, 1)) < n)
        run_task(&list[k]);
    MPI_Barrier(world.world);
}

/* ---- measured beside expected ---- */

static int n_failed;

static void row(const char *what, const char *measured, const char *expected, int passed)
{
    static const char *const verdict[] = {"FAILED", "ok", "-"};
    printf("%-46s %-24s %-24s %s\n", what, measured, expected, verdict[passed]);
    n_failed += passed == 0;
}

static bool inside(double v, double low, double high)
{
    return v >= low && v <= high;
}

/* By a parabola through the best rate and its neighbours, in logarithms. */
static double best_lr(int b)
{
    int i = best_rate(b);
    if (i < 1 || i + 1 >= RATES || !isfinite(steps_of(b, i - 1)) || !isfinite(steps_of(b, i + 1)))
        return i < 0 ? NAN : rate_of(i);
    double x[3], y[3];
    for (int k = 0; k < 3; k++) {
        x[k] = log(rate_of(i - 1 + k));
        y[k] = log(steps_of(b, i - 1 + k));
    }
    return exp(critical_least(x, y));
}

/* Experiment 1. Single points depend on a model's small print: only the fit is judged. */
static double show_steps(void)
{
    char what[64], measured[64], expected[64];
    double batch[BATCHES], steps[BATCHES];
    struct critical c = {0};
    for (int b = 0; b < BATCHES; b++) {
        batch[b] = BATCH[b];
        steps[b] = best_rate(b) < 0 ? INFINITY : steps_of(b, best_rate(b));
        snprintf(what, sizeof what, "1 steps to %.1f at B=%d", TARGET, BATCH[b]);
        snprintf(measured, sizeof measured, "%.0f at lr %.2g", steps[b], best_lr(b));
        snprintf(expected, sizeof expected, "%.0f", STEPS_KNOWN[b]);
        row(what, measured, expected, 2);
    }
    if (!critical_fit(&c, batch, steps, BATCHES)) {
        row("1 critical batch", "no fit", "31 (15 to 60)", false);
        return NAN;
    }
    snprintf(measured, sizeof measured, "%.0f", c.steps_least);
    row("1 Smin", measured, "86", 2);
    snprintf(measured, sizeof measured, "%.0fk", c.examples_least * SCIENCE_T / 1e3);
    row("1 Emin, tokens", measured, "173k", 2);
    snprintf(measured, sizeof measured, "%.1f", c.batch);
    row("1 critical batch", measured, "31 (15 to 60)", inside(c.batch, 15, 60));
    return c.batch;
}

static void show_rates(void)
{
    char measured[64];
    double batch[BATCHES], lr[BATCHES];
    int large = BATCHES - 1;
    for (int b = 0; b < BATCHES; b++) {
        batch[b] = BATCH[b];
        lr[b] = best_lr(b);
    }
    /* The square root is a law of batches that noise limits; past them the rate stays. */
    double x = range_exponent(batch, lr, BELOW_NOISE), all = range_exponent(batch, lr, BATCHES);
    snprintf(measured, sizeof measured, "B^%.2f", x);
    row("2 the best rate grows, B=1 to 64, as", measured, "B^0.45 (0.3 to 0.6)",
        inside(x, 0.3, 0.6));
    snprintf(measured, sizeof measured, "B^%.2f", all);
    row("2 and on to B=256, as", measured, "less", 2);
    double most = GIVEN_UP * board->best[large];
    int arrived = 0;
    for (int i = 0; i < SEEDS; i++)
        arrived += isfinite(board->steps[large][LINEAR_RATE - RATE_LOW][i]);
    snprintf(measured, sizeof measured, "%d of %d in %.0f steps", arrived, SEEDS, most);
    row("3 the linear rule at B=256, lr 0.064: arrives", measured, "never", arrived == 0);
}

static void show_warmup(void)
{
    char what[64], measured[64], expected[64];
    double before = INFINITY;
    bool falls = true;
    for (int i = 0; i < WARMUPS; i++) {
        double v = mean(board->warmup_loss[i]), known = WARMUP_KNOWN[i];
        snprintf(what, sizeof what, "4 loss after a warmup of %d steps", WARMUP[i]);
        snprintf(measured, sizeof measured, "%.3f", v);
        snprintf(expected, sizeof expected, "%.2f (10%%)", known);
        row(what, measured, expected, inside(v / known, 0.9, 1.1));
        falls = falls && v < before;
        before = v;
    }
    row("4 it falls with the warmup", falls ? "yes" : "no", "yes", falls);
}

static void show_noise(double critical)
{
    char measured[64], expected[64];
    if (column("noise_trace") < 0) {
        puts("SKIP: 5: this build does not measure the noise scale");
        return;
    }
    const double *q = board->noise;
    snprintf(measured, sizeof measured, "%.1f %.0f %.0f %.0f", q[0], q[1], q[2], q[3]);
    row("5 noise scale by quarters, sequences", measured, "2.4 40 52 55, rising",
        q[0] < q[1] && q[1] < q[3]);
    snprintf(measured, sizeof measured, "%.2f", q[3] / critical);
    snprintf(expected, sizeof expected, "1.8 (0.5 to 2)");
    row("5 the last over the critical batch", measured, expected, inside(q[3] / critical, 0.5, 2));
}

static void show_rest(void)
{
    char measured[64];
    double gain = mean(board->constant) - mean(board->decayed), best = best_lr(2);
    double valley[SEEDS], minimum[SEEDS];
    for (int i = 0; i < SEEDS; i++) {
        valley[i] = board->range[i].valley;
        minimum[i] = board->range[i].minimum;
    }
    snprintf(measured, sizeof measured, "%.3f", gain);
    row("6 constant rate's loss less decayed rate's", measured, "0.02 and more", gain >= 0.02);
    double ratio = ratio_mean(valley) / best;
    snprintf(measured, sizeof measured, "%.2g / %.2g = %.2f", ratio_mean(valley), best, ratio);
    row("7 range test's valley over the best rate, B=16", measured, "0.9 (0.5 to 2)",
        inside(ratio, 0.5, 2));
    snprintf(measured, sizeof measured, "%.1f", ratio_mean(minimum) / best);
    row("7 its minimum/10 over the best rate", measured, "12", 2);
}

/* By a parabola through three rates. */
static double best_of_width(bool mup, int i)
{
    double x[TRIED];
    for (int k = 0; k < TRIED; k++)
        x[k] = log(rate_of(WIDTH_RATE[mup][i] - RATE_LOW + k - 1));
    return exp(critical_least(x, board->width_loss[mup && i > 0][i]));
}

static void show_widths(void)
{
    static const char *const expected[2] = {"0.016 0.008 0.004", "0.016 0.016 0.016"};
    char measured[64];
    double best[2][WIDTHS];
    for (int mup = 0; mup < 2; mup++) {
        for (int i = 0; i < WIDTHS; i++)
            best[mup][i] = best_of_width(mup, i);
        snprintf(measured, sizeof measured, "%.2g %.2g %.2g", best[mup][0], best[mup][1],
                 best[mup][2]);
        row(mup ? "8 best rate by muP at width 32, 64, 128" : "8 best rate at width 32, 64, 128",
            measured, expected[mup], 2);
    }
    double plain = best[0][0] / best[0][2], mup = best[1][0] / best[1][2];
    snprintf(measured, sizeof measured, "%.2f", plain);
    row("8 by this it falls from width 32 to 128", measured, "4 (2.5 to 6)", inside(plain, 2.5, 6));
    snprintf(measured, sizeof measured, "%.2f", mup);
    row("8 and by muP", measured, "1 (0.67 to 1.5)", inside(mup, 0.67, 1.5));
}

static void show(void)
{
    char took[32];
    printf("\n%-46s %-24s %-24s\n", "experiment", "measured", "expected (accepted)");
    double critical = show_steps();
    show_rates();
    show_warmup();
    show_noise(critical);
    show_rest();
    show_widths();
    printf("\n%d failed; %s on %d rank%s\n", n_failed,
           fmt_duration(took, sizeof took, clock_now_s() - begun_s), world.size,
           world.size == 1 ? "" : "s");
}

static void prepare_board(struct window **w)
{
    must(window_new(w, &world, world.rank == 0 ? sizeof *board : 0, "results"));
    board = window_part(*w, 0);
    if (world.rank == 0) {
        memset(board, 0, sizeof *board);
        for (int b = 0; b < BATCHES; b++) {
            board->best[b] = INFINITY;
            for (int i = 0; i < RATES; i++)
                for (int k = 0; k < SEEDS; k++)
                    board->steps[b][i][k] = INFINITY;
        }
    }
    MPI_Barrier(world.world);
}

static void experiment(const char *text)
{
    static struct task list[TASKS];
    struct window *w;
    begun_s = clock_now_s();
    science_begin(&place, &world, text);
    model = science_model(&place, 64);
    prepare_board(&w);
    if (world.rank == 0)
        printf("%.0f parameters, %d characters, steps of B x %d tokens\n", spec_n_params(&model),
               place.vocab, SCIENCE_T);
    for (int n = first_tasks(list); n > 0; n = further_tasks(list))
        run_tasks(list, n);
    if (world.rank == 0)
        show();
    MPI_Bcast(&n_failed, 1, MPI_INT, 0, world.world);
    science_end(&place, &world);
    window_free(w);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    must(comm_init(&world, &argc, &argv));
    const char *text = science_text();
    if (text != NULL)
        experiment(text);
    else if (world.rank == 0)
        puts("SKIP: tiny Shakespeare is not there; name the text by CARAT_SHAKESPEARE=FILE");
    comm_end(&world);
    return n_failed > 0;
}
