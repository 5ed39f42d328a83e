/* The range test on a trainer: it leaves no trace in it, and the curve is the same on any ranks.
 * ranks: 1 2 3 */
#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "study/range_test.h"
#include "train/mark.h"
#include "train/tiny_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 30 };

static struct config conf;
static struct model_spec spec;

static void configure(const char *extra)
{
    struct config job;
    char lines[2048];
    snprintf(lines, sizeof lines,
             "batch.global: 7\nbatch.micro: 2\nbatch.seq_len: 20\ntrain.steps: 40\n"
             "schedule.warmup: 20\n%s",
             extra);
    tiny_load(&job, "run", lines);
    range_config(&conf, &job, 7);
    tiny_model(&spec, 36, 50);
}

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

/* Of this rank's parameters and optimizer state. */
static uint32_t state_of(const struct trainer *t)
{
    uint32_t h = crc32c(0, t->params, t->tensors->n_elems * sizeof(float));
    const struct optim *o = &t->optim;
    for (int i = 0; i < o->n_slots; i++)
        h = crc32c(h, o->slot[i],
                   shard_count(&o->slot_shard[i], o->slot_shard[i].rank) * sizeof(float));
    for (int i = 0; i < o->rule->n_stats; i++)
        h = crc32c(h, o->stat[i], o->stat_n[i] * sizeof(float));
    return h;
}

static void ramp(struct range_curve *c, struct trainer *t, double to)
{
    const struct range_ramp ramp = {1e-4, to, STEPS, false};
    ck_all(&ck_world, range_curve_init(c, &ramp) == OK);
    ck_all(&ck_world, range_test(c, t, NULL, NULL) == OK);
}

static void some_steps(struct trainer *t, int n, double *last_loss)
{
    struct step_result r = {0};
    t->forced_lr = 3e-3;
    for (int i = 0; i < n; i++)
        ck_all(&ck_world, trainer_step(t, &r) == OK);
    t->forced_lr = 0;
    *last_loss = r.loss;
}

/* Of a run that went back the ramp is of optimizer.lr, which its steps take a part of: what a test
 * suggests is what the job of that run is to say. */
START_TEST(a_rate_that_going_back_lowered_stays_lowered)
{
    static struct trainer t;
    struct step_result r = {0};
    configure("");
    ck_all(&ck_world, trainer_init_apart(&t, &conf, &spec, &ck_world, START_ANEW) == OK);
    t.monitor.back.rate = 0.5;
    t.forced_lr = 3e-3;
    ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_all(&ck_world, r.lr == 1.5e-3);
    trainer_release(&t);
}
END_TEST

/* From a trainer that has gone some steps: its state, its next steps and a second test are those
 * of one that was not tested. */
static void leave_no_trace(const char *extra)
{
    static struct trainer t, twin;
    struct range_curve first, second;
    double warm, loss, twin_loss, number = 7;
    configure(extra);
    ck_all(&ck_world, trainer_init_apart(&t, &conf, &spec, &ck_world, START_ANEW) == OK);
    ck_assert_int_eq(state_add(&t.state_rows, "test.number", &number, 1), OK);
    some_steps(&t, 3, &warm);
    const struct progress at = t.at;
    uint32_t before = state_of(&t);

    ramp(&first, &t, 3);
    ck_all(&ck_world, state_of(&t) == before);
    ck_assert_int_eq(t.at.step, at.step);
    ck_assert_int_eq(t.at.samples, at.samples);
    ck_assert_double_eq(t.at.targets, at.targets);
    ramp(&second, &t, 3);
    ck_all(&ck_world, state_of(&t) == before);
    ck_assert_int_eq(first.n, second.n);
    ck_assert_mem_eq(first.loss, second.loss, (size_t)first.n * sizeof(double));

    some_steps(&t, 4, &loss);
    uint32_t after = state_of(&t);
    ck_all(&ck_world, after != before);
    trainer_release(&t);
    ck_all(&ck_world, trainer_init_apart(&twin, &conf, &spec, &ck_world, START_ANEW) == OK);
    some_steps(&twin, 3, &warm);
    some_steps(&twin, 4, &twin_loss);
    ck_all(&ck_world, state_of(&twin) == after);
    ck_assert_double_eq(loss, twin_loss);
    trainer_release(&twin);
    range_curve_release(&first);
    range_curve_release(&second);
}

START_TEST(a_test_leaves_no_trace)
{
    leave_no_trace("");
    leave_no_trace("parallel.shard: none\n");
    leave_no_trace("parallel.share_params: off\n");
    leave_no_trace("rates.freeze: embed\n");
    for (int i = 0; optim_row(i) != NULL; i++) {
        char name[64];
        snprintf(name, sizeof name, "optimizer.name: %s\n", optim_row(i)->name);
        leave_no_trace(name);
    }
}
END_TEST

START_TEST(numbers_of_the_state_come_back)
{
    static struct trainer t;
    struct mark *m;
    double number[2] = {7, NAN};
    configure("");
    ck_all(&ck_world, trainer_init_apart(&t, &conf, &spec, &ck_world, START_ANEW) == OK);
    ck_assert_int_eq(state_add(&t.state_rows, "test.number", number, 2), OK);
    ck_all(&ck_world, mark_take(&m, &t) == OK);
    number[0] = number[1] = 1;
    ck_all(&ck_world, mark_return(m, &t) == OK);
    ck_assert_double_eq(number[0], 7);
    ck_assert(isnan(number[1]));
    mark_free(m);
    trainer_release(&t);
}
END_TEST

/* On one rank by itself, then on all: the same bits. */
START_TEST(the_curve_does_not_depend_on_ranks)
{
    static struct trainer t;
    struct range_curve one, all;
    struct range_suggestion of_one = {0}, of_all;
    struct comm alone;
    configure("");
    ck_all(&ck_world, comm_first(&alone, &ck_world, 1) == OK);
    const struct range_ramp r = {1e-4, 3, STEPS, false};
    ck_all(&ck_world, range_curve_init(&one, &r) == OK);
    if (alone.size > 0) {
        ck_assert_int_eq(trainer_init_apart(&t, &conf, &spec, &alone, START_ANEW), OK);
        ck_assert_int_eq(range_test(&one, &t, NULL, NULL), OK);
        trainer_release(&t);
        comm_end(&alone);
        range_suggest(&of_one, &one);
    }
    MPI_Bcast(&one.n, 1, MPI_INT64_T, 0, ck_world.world);
    MPI_Bcast(one.loss, STEPS, MPI_DOUBLE, 0, ck_world.world);
    MPI_Bcast(&of_one, (int)sizeof of_one, MPI_BYTE, 0, ck_world.world);

    ck_all(&ck_world, trainer_init_apart(&t, &conf, &spec, &ck_world, START_ANEW) == OK);
    ramp(&all, &t, 3);
    trainer_release(&t);
    range_suggest(&of_all, &all);
    ck_assert_int_eq(all.n, one.n);
    ck_assert_mem_eq(all.loss, one.loss, (size_t)one.n * sizeof(double));
    ck_assert_double_eq(of_all.valley, of_one.valley);
    ck_assert_double_lt(all.best, all.smooth[0]);
    range_curve_release(&one);
    range_curve_release(&all);
}
END_TEST

static int ends_after(const char *extra, double to, enum range_end *end)
{
    static struct trainer t;
    struct range_curve c;
    configure(extra);
    ck_all(&ck_world, trainer_init_apart(&t, &conf, &spec, &ck_world, START_ANEW) == OK);
    uint32_t before = state_of(&t);
    ramp(&c, &t, to);
    ck_all(&ck_world, state_of(&t) == before);
    int n = (int)c.n, most = n, least = n;
    MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT, MPI_MAX, ck_world.world);
    MPI_Allreduce(MPI_IN_PLACE, &least, 1, MPI_INT, MPI_MIN, ck_world.world);
    ck_assert_int_eq(most, least);
    *end = c.end;
    range_curve_release(&c);
    trainer_release(&t);
    return n;
}

START_TEST(all_ranks_stop_at_the_same_step)
{
    enum range_end end;
    ck_assert_int_eq(ends_after("", 1e-3, &end), STEPS);
    ck_assert_int_eq(end, RANGE_WHOLE);
    /* Plain descent without clipping has no bound. */
    ck_assert_int_lt(ends_after("optimizer.name: sgd\noptimizer.clip_norm: 0\n", 1e12, &end),
                     STEPS);
    ck_assert_int_ne(end, RANGE_WHOLE);
}
END_TEST

START_TEST(no_file_is_made)
{
    char path[FS_PATH_MAX];
    fs_join(path, ck_folder(), "run");
    ck_assert(!fs_exists(path));
    configure("");
    static struct trainer t;
    ck_all(&ck_world, trainer_init_apart(&t, &conf, &spec, &ck_world, START_NEWEST) == E_DATA);
    ck_assert_ptr_nonnull(strstr(err_message(), "no checkpoint"));
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, a_test_leaves_no_trace);
    tcase_add_test(t, numbers_of_the_state_come_back);
    tcase_add_test(t, the_curve_does_not_depend_on_ranks);
    tcase_add_test(t, all_ranks_stop_at_the_same_step);
    tcase_add_test(t, a_rate_that_going_back_lowered_stays_lowered);
    tcase_add_test(t, no_file_is_made);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "study/range_test", add);
}
