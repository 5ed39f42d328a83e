/* Rates against torch.optim.lr_scheduler 1.13 where it has the rule, and against closed forms. */
#include "base/err.h"
#include "check_main.h"
#include "optim/schedule.h"

#include <math.h>
#include <string.h>

/* Relative; a few roundings of double. */
#define TOLERANCE 1e-12
/* Vectors that were written down with six digits. */
#define SIX_DIGITS 5.1e-7

#define N_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* A rule over `total` without a warmup, in steps of 1. */
static struct schedule of(const char *name, double peak, double total)
{
    struct schedule s = {.peak = peak, .total = total, .n = 1};
    struct schedule_piece *p = &s.piece[0];
    ck_assert_msg(schedule_find(&p->rule, name) == OK, "%s", err_message());
    p->length = total;
    p->top = p->cycle_mult = 1;
    p->phases = 2;
    p->final = p->rule->own.final;
    p->base = p->rule->own.base;
    p->rise = p->rule->own.rise;
    p->power = p->rule->own.power;
    p->momentum_low = 0.85;
    p->momentum_high = 0.95;
    p->follows_plateau = p->rule->observes;
    schedule_reset(&s);
    return s;
}

static struct schedule warm(struct schedule s, enum warmup_shape shape, double length, double start)
{
    s.warmup = (struct schedule_warmup){.shape = shape, .length = length, .start = start};
    s.piece[0].start = length;
    s.piece[0].length = s.total - length;
    return s;
}

static double rate(const struct schedule *s, double c)
{
    return schedule_at(s, c, 1).rate;
}

static void is(double got, double want)
{
    ck_assert_double_eq_tol(got, want, TOLERANCE * fabs(want));
}

/* Steps 0, 1, …; where torch has chained its steps, want has their roundings. */
static void follows(const struct schedule *s, const double *want, int n)
{
    for (int t = 0; t < n; t++)
        ck_assert_msg(fabs(rate(s, t) - want[t]) <= TOLERANCE * want[t],
                      "%s, step %d: %.17g instead of %.17g", s->piece[0].rule->name, t, rate(s, t),
                      want[t]);
}

START_TEST(constant_stays)
{
    struct schedule s = of("constant", 3e-4, 100);
    for (int c = 0; c <= 200; c += 10)
        ck_assert_double_eq(rate(&s, c), 3e-4);
}
END_TEST

START_TEST(step_falls_by_gamma)
{
    static const double want[] = {0.05,  0.05,   0.05,   0.025,  0.025,
                                  0.025, 0.0125, 0.0125, 0.0125, 0.00625};
    struct schedule s = of("step", 0.05, 10);
    s.piece[0].gamma = 0.5;
    s.piece[0].every = 3;
    follows(&s, want, N_OF(want));
}
END_TEST

START_TEST(multi_step_falls_at_milestones)
{
    static const double want[] = {0.05, 0.05, 5e-3, 5e-3, 5e-3, 5e-4, 5e-5, 5e-5, 5e-5};
    struct schedule s = of("multi_step", 0.05, 9);
    s.piece[0].gamma = 0.1;
    s.piece[0].n_milestones = 3;
    memcpy(s.piece[0].milestone, (double[]){2, 5, 6}, 3 * sizeof(double));
    follows(&s, want, N_OF(want));
}
END_TEST

START_TEST(exponential_falls_evenly)
{
    static const double want[] = {0.05, 0.045, 0.0405, 0.03645, 0.032805, 0.0295245};
    struct schedule s = of("exponential", 0.05, 6);
    s.piece[0].gamma = 0.9;
    s.piece[0].every = 1;
    follows(&s, want, N_OF(want));
    s.piece[0].every = 2;
    is(rate(&s, 3), 0.05 * pow(0.9, 1.5));
}
END_TEST

START_TEST(polynomial_and_linear_reach_their_end)
{
    static const double poly[] = {0.05, 0.049099093329828765, 0.04819634606292755,
                                  0.04729171596893161};
    static const double line[] = {0.05,  0.045, 0.04,  0.035, 0.03, 0.025,
                                  0.020, 0.015, 0.010, 0.010, 0.010};
    struct schedule s = of("polynomial", 0.05, 50);
    s.piece[0].power = 0.9;
    s.piece[0].final = 0;
    follows(&s, poly, N_OF(poly));
    ck_assert_double_eq(rate(&s, 50), 0);
    ck_assert_double_eq(rate(&s, 60), 0);
    s.piece[0].final = 0.2;
    is(rate(&s, 20), 0.05 * (0.2 + 0.8 * pow(0.6, 0.9)));
    s = of("linear", 0.05, 8);
    s.piece[0].final = 0.2;
    follows(&s, line, N_OF(line));
    /* b·(s + (e - s)·t/N) from s = 0.05 to 1: a rise. */
    s = of("linear", 0.05, 40);
    s.piece[0].top = 0.05;
    s.piece[0].final = 1;
    static const double rise[] = {0.0025, 0.0036875, 0.004875};
    follows(&s, rise, N_OF(rise));
}
END_TEST

START_TEST(cosine_is_a_half_wave)
{
    static const double want[] = {
        0.05, 0.048477590650225735, 0.04414213562373095, 0.0376536686473018,
        0.03, 0.022346331352698205, 0.01585786437626905, 0.011522409349774266,
        0.01};
    struct schedule s = of("cosine", 0.05, 8);
    s.piece[0].final = 0.2;
    follows(&s, want, N_OF(want));
    is(rate(&s, 99), 0.01);
}
END_TEST

START_TEST(restarts_start_again)
{
    static const double want[] = {1,
                                  0.8681980515339464,
                                  0.55,
                                  0.23180194846605365,
                                  1,
                                  0.9657457896300791,
                                  0.8681980515339464,
                                  0.7222075445642904,
                                  0.55,
                                  0.3777924554357096,
                                  0.23180194846605365,
                                  0.13425421036992097,
                                  1,
                                  0.9913533761814537,
                                  0.9657457896300791,
                                  0.9241613255361454};
    static const double six[] = {1,       .853553, .5,      .146447, 1,       .96194, .853553,
                                 .691342, .5,      .308658, .146447, .038060, 1};
    struct schedule s = of("sgdr", 1, 28);
    s.piece[0].cycle = 4;
    s.piece[0].cycle_mult = 2;
    follows(&s, want, N_OF(want));
    s.piece[0].final = 0;
    for (int t = 0; t < N_OF(six); t++)
        ck_assert_double_eq_tol(rate(&s, t), six[t], SIX_DIGITS);
    is(schedule_piece_end(&s.piece[0]) + 1, 1); /* not the peak of the next */
    s.piece[0].cycle = 3;
    s.piece[0].cycle_mult = 1;
    for (int t = 0; t < 3; t++)
        is(rate(&s, 3e9 + t), (1 + cos(M_PI * t / 3)) / 2);
}
END_TEST

START_TEST(cyclical_rules_go_up_and_down)
{
    static const struct {
        const char *name;
        double rise, want[17];
    } row[] = {
        {"triangular",
         0.5,
         {0.1, 0.35, 0.6, 0.85, 1.1, 0.85, 0.6, 0.35, 0.1, 0.35, 0.6, 0.85, 1.1, 0.85, 0.6, 0.35,
          0.1}},
        {"triangular2",
         0.5,
         {0.1, 0.35, 0.6, 0.85, 1.1, 0.85, 0.6, 0.35, 0.1, 0.225, 0.35, 0.475, 0.6, 0.475, 0.35,
          0.225, 0.1}},
        {"cyclical2",
         0.25,
         {0.1, 0.6, 1.1, 0.9333333333333333, 0.7666666666666666, 0.6, 0.43333333333333335,
          0.26666666666666666, 0.1, 0.35, 0.6, 0.5166666666666667, 0.43333333333333335, 0.35,
          0.26666666666666666, 0.18333333333333335, 0.1}},
        {"exp_range",
         0.5,
         {0.1, 0.325, 0.505, 0.64675, 0.7561, 0.5428675000000001, 0.3657205, 0.219574225, 0.1,
          0.19685512225000001, 0.27433922005000005, 0.33535794706750005, 0.3824295364810001,
          0.29063993712467506, 0.21438396227480505, 0.15147278302366227, 0.1}},
    };
    for (int i = 0; i < N_OF(row); i++) {
        struct schedule s = of(row[i].name, 1.1, 16);
        s.piece[0].cycle = 8;
        s.piece[0].base = 0.1 / 1.1;
        s.piece[0].rise = row[i].rise;
        s.piece[0].gamma = 0.9;
        s.piece[0].every = 1;
        follows(&s, row[i].want, 17);
    }
    /* Saw teeth. */
    struct schedule s = of("cyclical", 1, 16);
    s.piece[0].cycle = 8;
    s.piece[0].base = s.piece[0].rise = 0;
    is(rate(&s, 0), 1);
    is(rate(&s, 10), 0.75);
    s.piece[0].rise = 1;
    is(rate(&s, 8) + 1, 1);
    is(rate(&s, 14), 0.75);
}
END_TEST

static void follows_momentum(const struct schedule *s, const double *want, int n)
{
    for (int t = 0; t < n; t++)
        is(schedule_at(s, t, 1).momentum, want[t]);
}

START_TEST(one_cycle_moves_rate_and_momentum)
{
    static const double two[] = {0.04,
                                 0.52,
                                 1,
                                 0.9504846320134737,
                                 0.8117456539497631,
                                 0.6112620219362893,
                                 0.38874197806371075,
                                 0.18825834605023697,
                                 0.049519367986526286,
                                 4e-06};
    static const double two_momentum[] = {0.95,
                                          0.9,
                                          0.85,
                                          0.854951556604879,
                                          0.8688255099070633,
                                          0.8888739533021842,
                                          0.9111260466978157,
                                          0.9311744900929366,
                                          0.945048443395121,
                                          0.95};
    static const double three[] = {0.04,
                                   0.52,
                                   1,
                                   0.52,
                                   0.04,
                                   0.0361807218535102,
                                   0.0261817218535102,
                                   0.013822278146489805,
                                   0.0038232781464898036,
                                   4e-06};
    static const double three_momentum[] = {0.95, 0.9,  0.85, 0.9,  0.95,
                                            0.95, 0.95, 0.95, 0.95, 0.95};
    struct schedule s = of("one_cycle", 1, 10);
    follows(&s, two, N_OF(two));
    follows_momentum(&s, two_momentum, N_OF(two_momentum));
    is(rate(&s, 12), 4e-6);
    s.piece[0].phases = 3;
    follows(&s, three, N_OF(three));
    follows_momentum(&s, three_momentum, N_OF(three_momentum));
    s.piece[0].momentum_low = s.piece[0].momentum_high = 0.9;
    ck_assert(isnan(schedule_at(&s, 3, 1).momentum));
    s = of("cosine", 1, 10);
    ck_assert(isnan(schedule_at(&s, 3, 1).momentum));
}
END_TEST

/* Corners between two steps; peak, start and end of another size. */
START_TEST(one_cycle_has_corners_between_steps)
{
    static const double want[] = {
        0.2,
        0.22322082559386858,
        0.29168506517267345,
        0.4018598383660221,
        0.5480599247446551,
        0.7227411316250021,
        0.9168895882526293,
        1.1204868780704949,
        1.32302700739361,
        1.5140585339580368,
        1.6837238805164803,
        1.8232680039094804,
        1.9254901713549075,
        1.985115531470368,
        1.9995999076112034,
        1.9856302944373607,
        1.9519753782235973,
        1.899308007680941,
        1.8286811395945983,
        1.741506787497867,
        1.639527791874152,
        1.5247829762736747,
        1.399566385964101,
        1.2663814240397653,
        1.1278908019271319,
        0.9868633049051789,
        0.8461184369354665,
        0.7084700514947262,
        0.5766700953752362,
        0.45335359015973503,
        0.34098595133330883,
        0.24181369825929144,
        0.15781954045407962,
        0.09068273810225233,
        0.04174552930768819,
        0.011986295286657992,
        0.002,
    };
    struct schedule s = of("one_cycle", 2, 37);
    s.piece[0].rise = 0.4;
    s.piece[0].base = 0.1;
    s.piece[0].final = 0.001;
    follows(&s, want, N_OF(want));
    is(schedule_at(&s, 14, 1).momentum, 0.8500200246440839);
    is(schedule_at(&s, 15, 1).momentum, 0.8507192044826145);
    is(schedule_at(&s, 36, 1).momentum, 0.95);
}
END_TEST

/* A clock of tokens gives the same rates as one of steps. */
START_TEST(one_cycle_in_tokens)
{
    struct schedule steps = of("one_cycle", 1, 10), tokens = of("one_cycle", 1, 10 * 512.);
    for (int t = 0; t < 10; t++)
        is(schedule_at(&tokens, 512 * t, 512).rate, rate(&steps, t));
    /* Shorter than its rise takes: it is over at once, and no number is lost. */
    struct schedule one = of("one_cycle", 1, 1);
    ck_assert(rate(&one, 0) > 0 && isfinite(rate(&one, 0)));
}
END_TEST

START_TEST(inverse_sqrt_and_power_fall_after_the_warmup)
{
    struct schedule s = warm(of("inverse_sqrt", 0.5, 1000), WARMUP_LINEAR, 16, 0);
    s.piece[0].timescale = 16;
    for (int t = 0; t < 16; t++)
        is(rate(&s, t), 0.5 * (t + 1) / 16);
    for (int t = 16; t < 1000; t += 41)
        is(rate(&s, t), 0.5 / sqrt(t / 16.));
    s.piece[0].timescale = 100;
    for (int t = 16; t < 1000; t += 41)
        is(rate(&s, t), 0.5 / sqrt((t + 100 - 16) / 100.));
    s = warm(of("power", 0.5, 1000), WARMUP_LINEAR, 16, 0);
    s.piece[0].timescale = 16;
    for (int t = 16; t < 1000; t += 41)
        is(rate(&s, t), 0.5 * pow(t / 16., -0.51));
}
END_TEST

START_TEST(warmup_stable_decay_decays_at_the_end)
{
    static const double roots[] = {1, .552786, .367544, .225403, .105573, 0};
    static const struct {
        const char *name;
        double left[6]; /* at x = 0, 1/5, … */
    } row[] = {
        {"sqrt",
         {1, 1 - 0.4472135954999579, 1 - 0.6324555320336759, 1 - 0.7745966692414834,
          1 - 0.8944271909999159, 0}},
        {"linear", {1, 0.8, 0.6, 0.4, 0.2, 0}},
        {"square", {1, 0.96, 0.84, 0.64, 0.36, 0}},
        {"cosine",
         {1, 0.9045084971874737, 0.6545084971874737, 0.34549150281252633, 0.09549150281252633, 0}}};
    struct schedule s = of("wsd", 1, 20);
    s.piece[0].decay = 5;
    for (int i = 0; i < N_OF(row); i++) {
        s.piece[0].decay_shape = schedule_decay_shape(row[i].name);
        s.piece[0].final = 0.1;
        for (int t = 0; t < 15; t++)
            ck_assert_double_eq(rate(&s, t), 1);
        for (int t = 15; t <= 20; t++)
            is(rate(&s, t), 0.1 + 0.9 * row[i].left[t - 15]);
        is(rate(&s, 23), 0.1);
    }
    s.piece[0].final = 0;
    s.piece[0].decay_shape = schedule_decay_shape("sqrt");
    for (int t = 15; t <= 20; t++)
        ck_assert_double_eq_tol(rate(&s, t), roots[t - 15], SIX_DIGITS);
    s.piece[0].decay = 0;
    is(rate(&s, 20), 1);
    ck_assert_ptr_null(schedule_decay_shape("cube"));
}
END_TEST

START_TEST(warmup_is_linear_and_never_zero)
{
    for (int i = 0; schedule_row(i) != NULL; i++) {
        if (schedule_row(i)->share == NULL || schedule_row(i)->rises)
            continue;
        struct schedule s = warm(of(schedule_row(i)->name, 0.8, 2000), WARMUP_LINEAR, 400, 0);
        s.piece[0].every = s.piece[0].cycle = s.piece[0].timescale = 400;
        s.piece[0].gamma = 0.5;
        for (int t = 0; t < 4; t++)
            is(schedule_at(&s, 100 * t, 100).rate, 0.8 * (t + 1) / 4);
        is(schedule_at(&s, 400, 100).rate, 0.8);
    }
    /* A warmup that ends within a step. */
    struct schedule s = warm(of("constant", 1, 1000), WARMUP_LINEAR, 250, 0);
    is(schedule_at(&s, 0, 100).rate, 0.4);
    is(schedule_at(&s, 100, 100).rate, 0.8);
    is(schedule_at(&s, 200, 100).rate, 1);
}
END_TEST

START_TEST(other_warmups)
{
    static const double flat[] = {0.25, 0.25, 0.25, 0.25, 1, 1};
    struct schedule s = warm(of("constant", 1, 100), WARMUP_CONSTANT, 4, 0.25);
    follows(&s, flat, N_OF(flat));
    /* Goyal: from η to kη by η(1 + (k - 1)c/W), here with kη = 1. */
    double k = 8;
    s = warm(of("constant", 1, 100), WARMUP_GRADUAL, 5, 1 / k);
    for (int t = 0; t < 5; t++)
        is(rate(&s, t), 1 / k * (1 + (k - 1) * t / 5));
    is(rate(&s, 5), 1);
    /* 1 - exp(-(1 - β2)t), t from 1, also when the rule goes on. */
    s = warm(of("linear", 1, 100), WARMUP_EXPONENTIAL, 20, 0);
    s.warmup.tau = 1 / (1 - 0.95);
    for (int t = 0; t < 20; t++)
        is(rate(&s, t), 1 - exp(-(1 - 0.95) * (t + 1)));
    is(rate(&s, 60), (1 - exp(-(1 - 0.95) * 61)) * 0.55);
    s = warm(of("constant", 1, 100), WARMUP_NONE, 0, 0);
    is(rate(&s, 0), 1);
    for (int i = WARMUP_LINEAR; i <= WARMUP_NONE; i++)
        ck_assert_int_eq(warmup_find(warmup_name(i)), i);
}
END_TEST

START_TEST(a_run_that_is_all_warmup_ends_at_the_end)
{
    struct schedule s = warm(of("linear", 1, 100), WARMUP_LINEAR, 100, 0);
    s.piece[0].final = 0.5;
    is(schedule_at(&s, 90, 10).rate, 1);
    is(schedule_at(&s, 100, 10).rate, 1);
    is(schedule_at(&s, 110, 10).rate, 0.5);
}
END_TEST

/* Halving the batch halves nothing but the distance between steps. */
START_TEST(the_clock_is_not_steps)
{
    struct schedule s = of("cosine", 1, 1000);
    s.piece[0].final = 0;
    is(schedule_at(&s, 300, 100).rate, schedule_at(&s, 300, 50).rate);
    ck_assert(schedule_at(&s, 999, 1).rate > 0);
}
END_TEST

/* torch's, for these losses, with factor 0.5, patience 2 and least rate 0.1. */
START_TEST(plateaus_lower_the_rate)
{
    static const double loss[] = {3,      2,   2,   1.9999, 1.9998, 1.99985, 1.5, 1.5, 1.6,
                                  1.4999, 1.7, NAN, 1.2,    1.3,    1.3,     1.3, 1.3, 1.3,
                                  1.3,    1.3, 1.3, 1.3,    1.3,    1.3,     1.3, 1.3, 1.3};
    static const double want[] = {1,    1,    1,    1,    0.5,  0.5,  0.5,   0.5,   0.5,
                                  0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125,
                                  0.1,  0.1,  0.1,  0.1,  0.1,  0.1,  0.1,   0.1,   0.1};
    struct schedule s = of("reduce_on_plateau", 1, 1000);
    s.piece[0].final = 0.1;
    s.factor = 0.5;
    s.patience = 2;
    s.threshold = 1e-4;
    double before = 1;
    ck_assert(schedule_has_plateau(&s));
    for (int i = 0; i < N_OF(loss); i++) {
        bool lowered = schedule_observe(&s, i, loss[i]);
        is(rate(&s, i), want[i]);
        ck_assert_int_eq(lowered, want[i] < before);
        before = want[i];
    }
    schedule_reset(&s);
    is(rate(&s, 0), 1);
    /* The other rules, and a warmup, do not listen. */
    s = warm(s, WARMUP_LINEAR, 100, 0);
    s.patience = 0;
    ck_assert(!schedule_observe(&s, 50, 1) && !schedule_observe(&s, 60, 2));
    ck_assert(!schedule_observe(&s, 100, 1) && schedule_observe(&s, 110, 2));
    s = of("cosine", 1, 1000);
    ck_assert(!schedule_has_plateau(&s));
    for (int i = 0; i < 30; i++)
        ck_assert(!schedule_observe(&s, i, 1));
}
END_TEST

START_TEST(pieces_have_their_own_time)
{
    struct schedule s = warm(of("constant", 2, 100), WARMUP_LINEAR, 10, 0);
    s.piece[0].length = 20;
    s.n = 3;
    s.piece[1] = of("cosine", 2, 40).piece[0];
    s.piece[1].start = 30;
    s.piece[1].final = 0.5;
    s.piece[2] = of("reduce_on_plateau", 2, 30).piece[0];
    s.piece[2].start = 70;
    s.piece[2].top = 0.5;
    s.factor = 0.1;
    is(rate(&s, 4), 2 * 0.5);
    is(rate(&s, 29), 2);
    for (int t = 30; t < 70; t++)
        is(rate(&s, t), 2 * (0.5 + 0.25 * (1 + cos(M_PI * (t - 30) / 40))));
    is(rate(&s, 70), 1);
    ck_assert(!schedule_observe(&s, 69, 5)); /* not its turn */
    ck_assert(!schedule_observe(&s, 70, 1) && schedule_observe(&s, 71, 1));
    is(rate(&s, 72), 0.1);
    is(rate(&s, 69), 2 * (0.5 + 0.25 * (1 + cos(M_PI * 39 / 40))));
}
END_TEST

START_TEST(rows_are_found_by_name)
{
    int n = 0;
    const struct schedule_rule *rule;
    for (; schedule_row(n) != NULL; n++) {
        ck_assert_int_eq(schedule_find(&rule, schedule_row(n)->name), OK);
        ck_assert_ptr_eq(rule, schedule_row(n));
        if (rule->alias == NULL)
            continue;
        ck_assert_int_eq(schedule_find(&rule, schedule_row(n)->alias), OK);
        ck_assert_ptr_eq(rule, schedule_row(n));
    }
    ck_assert_int_eq(n, 17);
    ck_assert_int_eq(schedule_find(&rule, "cosin"), E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err_message(), "did you mean \"cosine\""));
    ck_assert_int_eq(schedule_find(&rule, "wsd"), OK);
    ck_assert(schedule_reads(rule, "decay") && schedule_reads(rule, "final"));
    ck_assert(!schedule_reads(rule, "dec") && !schedule_reads(rule, "gamma"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, constant_stays);
    tcase_add_test(t, step_falls_by_gamma);
    tcase_add_test(t, multi_step_falls_at_milestones);
    tcase_add_test(t, exponential_falls_evenly);
    tcase_add_test(t, polynomial_and_linear_reach_their_end);
    tcase_add_test(t, cosine_is_a_half_wave);
    tcase_add_test(t, restarts_start_again);
    tcase_add_test(t, cyclical_rules_go_up_and_down);
    tcase_add_test(t, one_cycle_moves_rate_and_momentum);
    tcase_add_test(t, one_cycle_has_corners_between_steps);
    tcase_add_test(t, one_cycle_in_tokens);
    tcase_add_test(t, inverse_sqrt_and_power_fall_after_the_warmup);
    tcase_add_test(t, warmup_stable_decay_decays_at_the_end);
    tcase_add_test(t, warmup_is_linear_and_never_zero);
    tcase_add_test(t, other_warmups);
    tcase_add_test(t, a_run_that_is_all_warmup_ends_at_the_end);
    tcase_add_test(t, the_clock_is_not_steps);
    tcase_add_test(t, plateaus_lower_the_rate);
    tcase_add_test(t, pieces_have_their_own_time);
    tcase_add_test(t, rows_are_found_by_name);
}

int main(void)
{
    return run_suite("optim/schedule", add);
}
