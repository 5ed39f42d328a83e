/* A step that looks wrong is computed again: errors of a machine are undone, the numbers' own stay.
 * ranks: 1 2 3 4 */
#include "tiny_run.h"

#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/events.h"
#include "train/loop.h"
#include "train/repeat.h"

enum { N_MICRO = 4, STEPS = 6, BAD_STEP = 4, MOST_EVENTS = 16 };

/* The window is small, so that a spike is one after few steps. */
#define JOB "batch.micro: 2\nmonitor.spike_window: 4\n"

static struct config conf;
static struct model_spec spec;
static struct trainer trainer;

/* What a run left. */
struct outcome {
    int rc;
    uint32_t weights, state, figures; /* checksums */
    int n;
    struct event event[MOST_EVENTS];
};

static void clean(void)
{
    err_clear();
    log_close();
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0)
        tiny_remove("run");
    MPI_Barrier(ck_world.world);
}

/* The rank that has the micro-batch, and its turn there, counted from the first step. */
static void find_micro(int micro, int *rank, size_t *nth)
{
    for (*rank = 0;; ++*rank) {
        struct range mine = split_even(N_MICRO, ck_world.size, *rank);
        if ((size_t)micro >= mine.first && (size_t)micro < mine.first + mine.n) {
            *nth = (BAD_STEP - 1) * mine.n + (size_t)micro - mine.first + 1;
            return;
        }
    }
}

static void arm(const char *fault, int micro)
{
    char text[64];
    int rank;
    size_t nth;
    if (fault != NULL) {
        find_micro(micro, &rank, &nth);
        snprintf(text, sizeof text, "%s:%d:%zu", fault, rank, nth);
        setenv("CARAT_FAULT", text, 1);
    }
    fault_rearm();
}

static void take_events(struct outcome *o)
{
    struct event *list;
    size_t n;
    if (ck_world.rank == 0 && events_read(conf.run.dir, &list, &n, NULL) == OK) {
        o->n = (int)n;
        if (n > 0)
            memcpy(o->event, list, (n < MOST_EVENTS ? n : MOST_EVENTS) * sizeof *list);
        mem_free(list);
    }
    MPI_Bcast(o, (int)sizeof *o, MPI_BYTE, 0, ck_world.world);
    ck_assert_int_le(o->n, MOST_EVENTS);
}

/* rate: of the optimizer; 0: the job's. */
static void train(struct outcome *o, const char *extra, double rate, const char *fault, int micro)
{
    struct trainer *t = &trainer;
    struct step_result r = {0};
    double row[M_N];
    char *text;
    memset(o, 0, sizeof *o);
    tiny_config(&conf, &spec, extra);
    conf.optimizer.lr = rate > 0 ? rate : conf.optimizer.lr;
    ck_all(&ck_world, trainer_init(t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    arm(fault, micro);
    while (o->rc == OK && t->at.step < STEPS) {
        o->rc = trainer_step(t, &r);
        if (o->rc == OK)
            loop_report(t, &r, row);
        double figures[] = {r.loss, r.lr, r.grad_norm, r.accuracy, (double)t->at.samples};
        o->figures = crc32c(o->figures, figures, sizeof figures);
    }
    unsetenv("CARAT_FAULT");
    fault_rearm();
    o->figures = crc32c(o->figures, &t->monitor.vitals.most_logit, sizeof(double));
    o->weights = crc32c(0, t->params, t->tensors->n_elems * sizeof(float));
    ck_assert_int_eq(state_text(&t->state_rows, &text), OK);
    o->state = crc32c(0, text, strlen(text));
    mem_free(text);
    trainer_release(t);
    take_events(o);
    clean();
}

static bool alike(const struct outcome *a, const struct outcome *b)
{
    return a->rc == b->rc && a->weights == b->weights && a->state == b->state &&
           a->figures == b->figures;
}

static int count(const struct outcome *o, const char *kind)
{
    int n = 0;
    for (int i = 0; i < o->n; i++)
        n += strcmp(o->event[i].kind, kind) == 0;
    return n;
}

static bool clears_the_hardware(const struct event *e)
{
    return strstr(e->text, "has the same bits: not the hardware but data or rate") != NULL;
}

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

/* ---- errors of a machine ---- */

static void undo(const char *job)
{
    static const char *const faults[] = {"grad", "grad.spike"};
    static struct outcome want, got;
    train(&want, job, 0, NULL, 0);
    ck_assert_int_eq(want.rc, OK);
    ck_assert_int_eq(want.n, 0);
    for (int i = 0; i < 2 * N_MICRO; i++) {
        int rank, micro = i / 2;
        size_t nth;
        char name[64];
        train(&got, job, 0, faults[i % 2], micro);
        ck_all(&ck_world, alike(&got, &want));
        ck_assert_int_eq(got.n, 1);
        ck_assert_str_eq(got.event[0].kind, "repeat");
        ck_assert_str_eq(got.event[0].action, "warn");
        ck_assert_int_eq(got.event[0].step, BAD_STEP);
        ck_assert_uint_eq(got.event[0].sample_first, (BAD_STEP - 1) * TINY_BATCH);
        ck_assert_ptr_nonnull(strstr(got.event[0].text, "two of three results agree"));
        find_micro(micro, &rank, &nth);
        snprintf(name, sizeof name, "gradient computed by rank %d on ", rank);
        ck_assert_msg(strstr(got.event[0].text, name) != NULL, "%s: %s", name, got.event[0].text);
    }
}

START_TEST(an_error_is_undone_and_its_rank_named)
{
    undo(JOB);
}
END_TEST

/* Its sums have an order of their own, the same each time. */
START_TEST(an_error_is_undone_in_fast_sums_too)
{
    undo(JOB "parallel.reduce: fast\n");
}
END_TEST

START_TEST(an_error_is_undone_with_dropout)
{
    undo(JOB "regularize.dropout: 0.1\nparallel.shard: none\n");
}
END_TEST

/* Micro-batches whose gradients are not measured show the error where it is summed. */
START_TEST(an_error_is_seen_in_the_sum)
{
    static struct outcome want, got;
    train(&want, JOB "noise.every: 0\n", 0, NULL, 0);
    train(&got, JOB "noise.every: 0\n", 0, "grad", 2);
    ck_all(&ck_world, alike(&got, &want));
    ck_assert_int_eq(got.n, 1);
    ck_assert_ptr_nonnull(strstr(got.event[0].text, "the sum of gradients held by rank"));
}
END_TEST

START_TEST(an_error_stays_where_nothing_is_repeated)
{
    static struct outcome want, got;
    train(&want, JOB "monitor.repeat: off\n", 0, NULL, 0);
    train(&got, JOB "monitor.repeat: off\n", 0, "grad", 2);
    ck_all(&ck_world, got.weights != want.weights);
    ck_assert_int_eq(count(&got, "repeat"), 0);
    ck_assert_int_eq(count(&got, "nonfinite"), 1);
    ck_assert(!clears_the_hardware(&got.event[0]));
}
END_TEST

/* ---- the numbers' own ---- */

/* With repeat on and off; n of the events are of that kind. */
static void leave_alone(const char *job, double rate, const char *kind)
{
    static struct outcome on, off;
    char extra[512];
    snprintf(extra, sizeof extra, "%smonitor.repeat: off\n", job);
    train(&on, job, rate, NULL, 0);
    train(&off, extra, rate, NULL, 0);
    ck_all(&ck_world, alike(&on, &off));
    ck_assert_int_eq(on.n, off.n);
    ck_assert_int_ge(count(&on, kind), 1);
    ck_assert_int_eq(count(&on, "repeat"), 0);
    for (int i = 0; i < on.n; i++) {
        ck_assert(clears_the_hardware(&on.event[i]) == (strcmp(on.event[i].kind, kind) == 0));
        ck_assert(!clears_the_hardware(&off.event[i]));
    }
}

START_TEST(a_true_spike_keeps_its_bits)
{
    leave_alone(JOB "monitor.spike_sigma: 1\nregularize.dropout: 0.1\n", 0.3, "spike");
    leave_alone(JOB "monitor.spike_sigma: 1\nmonitor.spike: skip\n", 0.3, "spike");
}
END_TEST

START_TEST(a_true_nan_is_the_numbers)
{
    leave_alone("batch.micro: 2\noptimizer.clip_norm: 0\n", 1e30, "nonfinite");
}
END_TEST

/* ---- a machine that never says the same ---- */

static int spoilt_rank, n_calls;

/* What one rank gave differs each time. */
static int compute_anything(struct trainer *t, struct sums *s, struct step_result *r)
{
    (void)r;
    s->given = t->comm->rank == spoilt_rank ? (uint32_t)++n_calls : 0;
    return OK;
}

START_TEST(no_two_results_that_agree_end_the_run)
{
    struct trainer *t = &trainer;
    struct step_result r;
    struct sums s = {0};
    char name[64];
    tiny_config(&conf, &spec, JOB);
    ck_all(&ck_world, trainer_init(t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    ck_all(&ck_world, trainer_step(t, &r) == OK);
    uint32_t before = crc32c(0, t->params, t->tensors->n_elems * sizeof(float));
    spoilt_rank = ck_world.size / 2;
    snprintf(name, sizeof name, "computed by rank %d on ", spoilt_rank);
    ck_all(&ck_world, repeat_step(t, compute_anything, &s, &r) == E_RANK);
    ck_all(&ck_world, strstr(err_message(), "no two of three results agree") != NULL &&
                          strstr(err_message(), name) != NULL);
    ck_all(&ck_world, crc32c(0, t->params, t->tensors->n_elems * sizeof(float)) == before);
    trainer_release(t);
    clean();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, an_error_is_undone_and_its_rank_named);
    tcase_add_test(t, an_error_is_undone_in_fast_sums_too);
    tcase_add_test(t, an_error_is_undone_with_dropout);
    tcase_add_test(t, an_error_is_seen_in_the_sum);
    tcase_add_test(t, an_error_stays_where_nothing_is_repeated);
    tcase_add_test(t, a_true_spike_keeps_its_bits);
    tcase_add_test(t, a_true_nan_is_the_numbers);
    tcase_add_test(t, no_two_results_that_agree_end_the_run);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/repeat", add);
}
