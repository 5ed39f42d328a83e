/* What a step measures and what is done about trouble: the same on any number of ranks.
 * ranks: 1 2 3 4 */
#include "tiny_run.h"

#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/events.h"
#include "train/loop.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MICRO = 2, N_MICRO = 4, STEPS = 6, BAD_STEP = 4, MOST_EVENTS = 16 };
/* Norms of single precision values summed in double, both here and there. */
static const double NORM_TOLERANCE = 1e-12;
/* Gradients of micro-batches that are computed apart sum in another order. */
static const double GRADIENT_TOLERANCE = 1e-5;

static struct config conf;
static struct model_spec spec;

/* A run, and which micro-batch of BAD_STEP its fault spoils, counted over all ranks. */
struct trial {
    const char *extra, *fault;
    int micro;
    int64_t steps; /* 0: STEPS */
};

/* What must not depend on the ranks. */
struct outcome {
    int rc, n_events;
    int64_t step, attempt, skipped;
    uint64_t samples;
    uint32_t weights, state;
    double loss, noise[NOISE_N], update_ratio, most_logit, by_layer[4 * L_N];
    struct event event[MOST_EVENTS];
};

/* Arms the fault on the rank that has the micro-batch, for its turn in BAD_STEP. */
static void arm(const struct comm *c, const struct trial *w)
{
    char text[64];
    unsetenv("CARAT_FAULT");
    for (int r = 0; r < c->size && w->fault != NULL; r++) {
        struct range mine = split_even(N_MICRO, c->size, r);
        if ((size_t)w->micro < mine.first || (size_t)w->micro >= mine.first + mine.n)
            continue;
        size_t nth = (BAD_STEP - 1) * mine.n + (size_t)w->micro - mine.first + 1;
        snprintf(text, sizeof text, "%s:%d:%zu", w->fault, r, nth);
        setenv("CARAT_FAULT", text, 1);
    }
    fault_rearm();
}

static void describe(struct outcome *o, struct trainer *t, double loss)
{
    char *text;
    o->step = t->at.step;
    o->attempt = t->at.attempt;
    o->skipped = t->at.skipped;
    o->samples = t->at.samples;
    o->weights = crc32c(0, t->params, t->tensors->n_elems * sizeof(float));
    o->loss = loss;
    memcpy(o->noise, &t->noise, sizeof o->noise);
    o->update_ratio = t->monitor.vitals.update_ratio;
    o->most_logit = t->monitor.vitals.most_logit;
    ck_assert_int_eq(t->monitor.vitals.n_groups, 4);
    memcpy(o->by_layer, t->monitor.vitals.by_layer, sizeof o->by_layer);
    ck_assert_int_eq(state_text(&t->state_rows, &text), OK);
    o->state = crc32c(0, text, strlen(text));
    mem_free(text);
}

static void take_events(struct outcome *o)
{
    struct event *list;
    size_t n;
    ck_assert_int_eq(events_read(conf.run.dir, &list, &n, NULL), OK);
    ck_assert_uint_le(n, MOST_EVENTS);
    o->n_events = (int)n;
    if (n > 0)
        memcpy(o->event, list, n * sizeof *list);
    mem_free(list);
}

/* Steps as the loop makes them, up to STEPS completed or the end; files are left. */
static void train(struct outcome *o, const struct comm *c, const struct trial *w)
{
    static struct trainer t;
    struct step_result r = {0};
    double row[M_N];
    memset(o, 0, sizeof *o);
    tiny_config(&conf, &spec, w->extra);
    if (w->fault != NULL) /* it strikes once: computed again, the step would be sound */
        strcpy(conf.monitor.repeat, "off");
    o->rc = trainer_init(&t, &conf, &spec, c, slice_of(0, 0));
    ck_assert_msg(o->rc == OK, "%s", err_message());
    arm(c, w);
    if (monitor_may_go_back(&conf))
        o->rc = trainer_save(&t);
    while (o->rc == OK && t.at.step < (w->steps ? w->steps : STEPS)) {
        o->rc = trainer_step(&t, &r);
        if (o->rc == OK)
            loop_report(&t, &r, row);
        if (o->rc == OK && monitor_wants_back(&t))
            o->rc = monitor_go_back(&t);
    }
    err_clear();
    unsetenv("CARAT_FAULT");
    fault_rearm();
    describe(o, &t, r.loss);
    if (c->rank == 0)
        take_events(o);
    trainer_release(&t);
    log_close();
}

/* What differs first; NULL when nothing does. */
static const char *difference(const struct outcome *a, const struct outcome *b)
{
    if (a->rc != b->rc || a->step != b->step)
        return "end";
    if (a->attempt != b->attempt || a->skipped != b->skipped || a->samples != b->samples)
        return "progress";
    if (a->weights != b->weights || memcmp(&a->loss, &b->loss, sizeof a->loss) != 0)
        return "weights";
    if (memcmp(a->noise, b->noise, sizeof a->noise) != 0)
        return "noise";
    if (memcmp(a->by_layer, b->by_layer, sizeof a->by_layer) != 0 ||
        memcmp(&a->update_ratio, &b->update_ratio, sizeof a->update_ratio) != 0 ||
        memcmp(&a->most_logit, &b->most_logit, sizeof a->most_logit) != 0)
        return "vitals";
    return a->state == b->state ? NULL : "state";
}

static void same_events(const struct outcome *a, const struct outcome *b)
{
    ck_assert_int_eq(a->n_events, b->n_events);
    for (int i = 0; i < a->n_events; i++) {
        ck_assert_int_eq(a->event[i].step, b->event[i].step);
        ck_assert_str_eq(a->event[i].kind, b->event[i].kind);
        ck_assert_str_eq(a->event[i].action, b->event[i].action);
        ck_assert_str_eq(a->event[i].text, b->event[i].text);
        ck_assert_uint_eq(a->event[i].sample_first, b->event[i].sample_first);
        ck_assert_uint_eq(a->event[i].sample_n, b->event[i].sample_n);
    }
}

static void clean(void)
{
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0)
        tiny_remove("run");
    MPI_Barrier(ck_world.world);
}

/* By one rank, then by all: *o is what all of them find. */
static void on_any_ranks(struct outcome *o, const struct trial *w)
{
    static struct outcome alone;
    struct comm one;
    ck_folder(); /* collective at first */
    ck_all(&ck_world, comm_first(&one, &ck_world, 1) == OK);
    if (one.size == 1)
        train(&alone, &one, w);
    comm_end(&one);
    clean();
    MPI_Bcast(&alone, (int)sizeof alone, MPI_BYTE, 0, ck_world.world);
    train(o, &ck_world, w);
    const char *what = difference(o, &alone);
    ck_all(&ck_world, what == NULL);
    if (ck_world.rank == 0)
        same_events(o, &alone);
    MPI_Bcast(o, (int)sizeof *o, MPI_BYTE, 0, ck_world.world);
    clean();
}

static struct outcome out;

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

START_TEST(measures_do_not_depend_on_ranks)
{
    const struct trial w = {.extra = "batch.micro: 2\n"};
    on_any_ranks(&out, &w);
    ck_assert_int_eq(out.rc, OK);
    ck_assert_int_eq(out.n_events, 0);
    const struct noise *n = (const struct noise *)(const void *)out.noise;
    ck_assert(n->last_trace > 0 && isfinite(noise_error(n)));
    ck_assert(out.update_ratio > 0 && out.update_ratio < 1);
    ck_assert(isfinite(out.most_logit));
    for (int i = 0; i < 4 * L_N; i++)
        ck_assert(out.by_layer[i] > 0);
}
END_TEST

/* Zones that begin off the blocks' grid, or are cut elsewhere. */
START_TEST(measures_do_not_depend_on_ranks_with_zones)
{
    static const char *const extra[] = {
        "batch.micro: 2\nrates.freeze: embed\n", "batch.micro: 2\nrates.freeze: embed 1 *q_norm*\n",
        "batch.micro: 2\noptimizer.name: adafactor\n", "batch.micro: 2\noptimizer.name: muon\n"};
    for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++) {
        const struct trial w = {.extra = extra[i]};
        on_any_ranks(&out, &w);
        ck_assert_int_eq(out.rc, OK);
        ck_assert(out.update_ratio > 0);
    }
}
END_TEST

START_TEST(measures_may_be_turned_off)
{
    const struct trial w = {.extra = "batch.micro: 2\nmonitor.every: 0\nnoise.every: 0\n"};
    on_any_ranks(&out, &w);
    ck_assert(isnan(out.update_ratio) && isnan(out.by_layer[0]) && out.noise[0] == 0);
}
END_TEST

static void report_steps(struct trainer *t, int64_t n)
{
    struct step_result r;
    double row[M_N];
    for (int64_t i = 0; i < n; i++) {
        ck_all(t->comm, trainer_step(t, &r) == OK);
        loop_report(t, &r, row);
    }
    MPI_Barrier(t->comm->world);
}

/* Steps 1 … n, all of one attempt. */
static void check_rows(const char *run, int64_t n, double attempt)
{
    double *row;
    int64_t found, n_bad;
    ck_assert_msg(metrics_read(run, &row, &found, &n_bad) == OK, "%s", err_message());
    ck_assert_int_eq(found, n);
    for (int64_t i = 0; i < n; i++)
        ck_assert(row[i * M_N + M_STEP] == (double)(i + 1) && row[i * M_N + M_ATTEMPT] == attempt);
    mem_free(row);
}

/* Also while the branch that follows is not yet as long as that one. */
START_TEST(no_reader_shows_the_branch_that_was_left)
{
    static struct trainer t;
    tiny_config(&conf, &spec, "batch.micro: 2\nmonitor.spike: back\n");
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    ck_all(&ck_world, trainer_save(&t) == OK);
    report_steps(&t, 3);
    check_rows(conf.run.dir, 3, 0);
    t.monitor.before = 3;
    ck_all(&ck_world, monitor_go_back(&t) == OK);
    check_rows(conf.run.dir, 0, 1);
    report_steps(&t, 2);
    check_rows(conf.run.dir, 2, 1);
    MPI_Barrier(ck_world.world);
    trainer_release(&t);
    log_close();
    clean();
}
END_TEST

/* 20 steps of which the last rank's are slow; before the last is reported another job takes the
 * folder, or none does. How many events there are. */
static int report_slow_rank(bool robbed)
{
    static struct trainer t;
    static struct outcome o;
    struct step_result r;
    double row[M_N];
    char lock[FS_PATH_MAX];
    tiny_config(&conf, &spec, "batch.micro: 2\n");
    ck_assert_int_eq(fs_join(lock, conf.run.dir, "lock"), OK);
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    for (int i = 1; i <= STRAGGLER_STEPS; i++) {
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
        r.time[R_COMPUTE_S] = ck_world.rank == ck_world.size - 1 ? 1 : 0.1;
        if (robbed && i == STRAGGLER_STEPS && ck_world.rank == 0)
            unlink(lock);
        loop_report(&t, &r, row);
    }
    MPI_Barrier(ck_world.world);
    take_events(&o);
    ck_all(&ck_world, t.pending == (robbed && ck_world.rank == 0 ? E_IO : OK));
    ck_all(&ck_world, o.n_events == 0 || strstr(o.event[0].text, ck_world.host) != NULL);
    trainer_release(&t);
    log_close();
    clean();
    return o.n_events;
}

START_TEST(who_was_robbed_records_nothing_more)
{
    if (ck_world.size == 1)
        return;
    ck_all(&ck_world, report_slow_rank(false) == 1);
    ck_all(&ck_world, report_slow_rank(true) == 0);
}
END_TEST

/* ---- against what they stand for ---- */

static int group_of(const struct trainer *t, size_t at)
{
    for (int l = 0; l < t->spec.L; l++)
        if (at < tensors_get(t->tensors, TENSOR_INPUT_NORM, l)->offset)
            return l;
    return at < tensors_get(t->tensors, TENSOR_FINAL_NORM, -1)->offset ? t->spec.L : t->spec.L + 1;
}

START_TEST(the_update_is_what_changed)
{
    static struct trainer t;
    struct step_result r;
    double change[4] = {0}, size[4] = {0}, squares = 0, all = 0, whole = 0;
    tiny_config(&conf, &spec, "batch.micro: 2\n");
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    size_t n = t.tensors->n_elems;
    ck_all(&ck_world, trainer_step(&t, &r) == OK);
    float *before = malloc(n * sizeof *before);
    memcpy(before, t.params, n * sizeof *before);
    MPI_Barrier(ck_world.world); /* the others still read the parameters that are shared */
    ck_all(&ck_world, trainer_step(&t, &r) == OK);
    for (size_t i = 0; i < n; i++) {
        double d = (double)(t.params[i] - before[i]);
        change[group_of(&t, i)] += d * d;
        size[group_of(&t, i)] += (double)before[i] * (double)before[i];
    }
    const double *row = t.monitor.vitals.by_layer;
    for (int g = 0; g < 4; g++, row += L_N) {
        double want = sqrt(change[g] / size[g]);
        ck_assert_double_eq_tol(row[L_UPDATE_RATIO], want, NORM_TOLERANCE * want);
        squares += row[L_GRAD_NORM] * row[L_GRAD_NORM];
        all += change[g];
        whole += size[g];
    }
    double ratio = sqrt(all / whole);
    ck_assert_double_eq_tol(t.monitor.vitals.update_ratio, ratio, NORM_TOLERANCE * ratio);
    ck_assert_double_eq_tol(sqrt(squares), r.grad_norm, NORM_TOLERANCE * r.grad_norm);
    free(before);
    MPI_Barrier(ck_world.world);
    trainer_release(&t);
    clean();
}
END_TEST

/* Each micro-batch's gradient by itself, on every rank. */
static void noise_of_first_step(struct trainer *t, struct noise_sums *s)
{
    struct model *m;
    struct loader *l;
    const struct model_options o = {.training = true};
    const struct loader_options read = {.T = TINY_T,
                                        .seed = (uint64_t)conf.run.seed,
                                        .shuffle = true,
                                        .boundary = BOUNDARY_LOSS,
                                        .max_samples = MICRO};
    size_t n = t->tensors->n_elems;
    float *grad = calloc(n, sizeof *grad);
    double *total = calloc(n, sizeof *total);
    ck_assert_int_eq(model_new(&m, &spec, MICRO, TINY_T, &o), OK);
    ck_assert_int_eq(loader_new(&l, &t->train_store, &read), OK);
    *s = (struct noise_sums){.batch = TINY_BATCH};
    for (int first = 0; first < TINY_BATCH; first += MICRO) {
        int count = TINY_BATCH - first < MICRO ? TINY_BATCH - first : MICRO;
        struct sample_block b;
        struct pass_result p;
        double square = 0;
        loader_want(l, (uint64_t)first, count);
        ck_assert_int_eq(loader_next(l, &b), OK);
        const struct batch_view view = {.B = count,
                                        .T = TINY_T,
                                        .token = b.token,
                                        .target = b.target,
                                        .weight = b.weight,
                                        .start = b.start};
        model_grad(m, t->params, &view, grad, &p, NULL, NULL);
        for (size_t i = 0; i < n; i++) {
            square += (double)grad[i] * (double)grad[i];
            total[i] += (double)grad[i];
        }
        s->each_sq += square / p.n_targets;
        s->targets += p.n_targets;
        s->n++;
    }
    for (size_t i = 0; i < n; i++)
        s->total_sq += total[i] * total[i];
    loader_free(l);
    model_free(m);
    free(grad);
    free(total);
}

START_TEST(the_noise_is_that_of_the_micro_batches)
{
    static struct trainer t;
    struct noise_sums s;
    struct step_result r;
    double trace, signal;
    tiny_config(&conf, &spec, "batch.micro: 2\n");
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    noise_of_first_step(&t, &s);
    MPI_Barrier(ck_world.world);
    ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_assert(noise_of_step(&trace, &signal, &s));
    ck_assert_int_eq(s.n, N_MICRO);
    ck_assert_double_lt(s.targets, TINY_BATCH * TINY_T); /* some targets do not count */
    ck_assert_double_eq_tol(t.noise.last_trace, trace, GRADIENT_TOLERANCE * fabs(trace));
    double level = s.total_sq / (s.targets * s.targets);
    ck_assert_double_eq_tol(t.noise.last_signal, signal, GRADIENT_TOLERANCE * level);
    trainer_release(&t);
    clean();
}
END_TEST

START_TEST(one_micro_batch_has_no_noise)
{
    const struct trial w = {.extra = "batch.micro: 7\n"};
    on_any_ranks(&out, &w);
    ck_assert_double_eq(out.noise[0], 0);
    ck_assert(out.update_ratio > 0);
}
END_TEST

/* ---- trouble ---- */

START_TEST(one_ranks_nan_is_left_out_by_all)
{
    for (int micro = 0; micro < N_MICRO; micro++) {
        const struct trial w = {.extra = "batch.micro: 2\n", .fault = "grad", .micro = micro};
        on_any_ranks(&out, &w);
        ck_assert_int_eq(out.rc, OK);
        ck_assert_int_eq(out.step, STEPS);
        ck_assert_int_eq(out.n_events, 1);
        ck_assert_str_eq(out.event[0].kind, "nonfinite");
        ck_assert_str_eq(out.event[0].action, "skip");
        ck_assert_int_eq(out.event[0].step, BAD_STEP);
        ck_assert_uint_eq(out.event[0].sample_first, (BAD_STEP - 1) * TINY_BATCH);
        ck_assert_uint_eq(out.event[0].sample_n, TINY_BATCH);
        ck_assert_ptr_nonnull(strstr(out.event[0].text, "optimizer.lr"));
    }
}
END_TEST

START_TEST(a_nan_may_end_the_run)
{
    const struct trial w = {
        .extra = "batch.micro: 2\nmonitor.nonfinite: stop\n", .fault = "grad", .micro = 3};
    on_any_ranks(&out, &w);
    ck_assert_int_eq(out.rc, E_DIVERGED);
    ck_assert_int_eq(out.step, BAD_STEP);
    ck_assert_int_eq(out.n_events, 1);
    ck_assert_str_eq(out.event[0].action, "stop");
}
END_TEST

/* The window is small, so that a spike is one after few steps. */
#define SPIKES "batch.micro: 2\nmonitor.spike_window: 4\n"

START_TEST(a_spike_is_told_left_out_or_ends_the_run)
{
    static const char *const action[] = {"warn", "skip", "stop", "off"};
    static const int rc[] = {OK, OK, E_DIVERGED, OK}, n_events[] = {1, 1, 1, 0};
    uint32_t weights[4];
    for (int i = 0; i < 4; i++) {
        char extra[256];
        snprintf(extra, sizeof extra, "%smonitor.spike: %s\n", SPIKES, action[i]);
        const struct trial w = {.extra = extra, .fault = "grad.spike", .micro = 1};
        on_any_ranks(&out, &w);
        ck_assert_int_eq(out.rc, rc[i]);
        ck_assert_int_eq(out.n_events, n_events[i]);
        if (n_events[i] > 0)
            ck_assert_str_eq(out.event[0].action, action[i]);
        weights[i] = out.weights;
    }
    ck_assert_uint_eq(weights[0], weights[3]); /* a warning changes nothing */
    ck_assert_uint_ne(weights[0], weights[1]);
}
END_TEST

START_TEST(a_run_goes_back)
{
    const struct trial w = {
        .extra = SPIKES "monitor.spike: back\n", .fault = "grad.spike", .micro = 2};
    on_any_ranks(&out, &w);
    ck_assert_int_eq(out.rc, OK);
    ck_assert_int_eq(out.step, STEPS);
    ck_assert_int_eq(out.attempt, 1);
    /* Back to the start, past the four batches that were taken, then all steps. */
    ck_assert_uint_eq(out.samples, (BAD_STEP + STEPS) * TINY_BATCH);
    ck_assert_int_eq(out.n_events, 2);
    ck_assert_str_eq(out.event[1].kind, "back");
    ck_assert_uint_eq(out.event[1].sample_first, 0);
    ck_assert_uint_eq(out.event[1].sample_n, BAD_STEP * TINY_BATCH);
    ck_assert_double_eq(out.event[1].value, 0.5);
}
END_TEST

START_TEST(going_back_may_skip_less)
{
    const struct trial w = {.extra = SPIKES "monitor.spike: back\nmonitor.back_skip: 1\n",
                            .fault = "grad.spike",
                            .micro = 2};
    on_any_ranks(&out, &w);
    ck_assert_int_eq(out.rc, OK);
    ck_assert_uint_eq(out.samples, (1 + STEPS) * TINY_BATCH);
}
END_TEST

START_TEST(a_run_goes_back_so_often_and_no_more)
{
    /* A limit that many steps exceed. */
    const struct trial w = {.extra = SPIKES
                            "monitor.spike: back\nmonitor.spike_sigma: 1\nmonitor.back_most: 2\n",
                            .steps = 40};
    on_any_ranks(&out, &w);
    ck_assert_int_eq(out.rc, E_DIVERGED);
    ck_assert_int_eq(out.attempt, 2);
    ck_assert_str_eq(out.event[out.n_events - 1].action, "stop");
    ck_assert_int_eq(out.n_events, 5);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, measures_do_not_depend_on_ranks);
    tcase_add_test(t, measures_do_not_depend_on_ranks_with_zones);
    tcase_add_test(t, measures_may_be_turned_off);
    tcase_add_test(t, no_reader_shows_the_branch_that_was_left);
    tcase_add_test(t, who_was_robbed_records_nothing_more);
    tcase_add_test(t, the_update_is_what_changed);
    tcase_add_test(t, the_noise_is_that_of_the_micro_batches);
    tcase_add_test(t, one_micro_batch_has_no_noise);
    tcase_add_test(t, one_ranks_nan_is_left_out_by_all);
    tcase_add_test(t, a_nan_may_end_the_run);
    tcase_add_test(t, a_spike_is_told_left_out_or_ends_the_run);
    tcase_add_test(t, a_run_goes_back);
    tcase_add_test(t, going_back_may_skip_less);
    tcase_add_test(t, a_run_goes_back_so_often_and_no_more);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/monitor", add);
}
