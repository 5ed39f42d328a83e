/* Every optimizer has the same bits on one rank and on all, and across a checkpoint that another
 * number of ranks goes on from.
 * ranks: 3 */
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "tiny_run.h"
#include "train/budget.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 5, SAVED_AT = 3 };

static struct config conf;
static struct model_spec spec;

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

/* A model of more blocks than ranks, and of matrices that are wide, tall and square. */
static void configure(const char *name, const char *run, const char *extra)
{
    char lines[2048];
    snprintf(lines, sizeof lines,
             "batch.global: 6\nbatch.seq_len: 16\ntrain.steps: 5\nschedule.warmup: 2\n"
             "parallel.bucket_mib: 1\noptimizer.name: %s\noptimizer.lr: 1e-2\n%s",
             name, extra);
    tiny_load(&conf, run, lines);
    tiny_model(&spec, 64, 150);
}

/* What decides the run from here on: parameters and state, wherever it lies. */
static uint32_t bits_of(struct trainer *t)
{
    uint32_t own = 0, all;
    for (int i = 0; i < t->tensors->n; i++)
        own = crc32c(own, t->params + t->tensors->row[i].offset,
                     t->tensors->row[i].n * sizeof(float));
    for (int i = 0; i < t->optim.rule->n_stats; i++)
        own = crc32c(own, t->optim.stat[i], t->optim.stat_n[i] * sizeof(float));
    own = crc32c(own, t->optim.scalar, sizeof t->optim.scalar);
    MPI_Allreduce(&own, &all, 1, MPI_UINT32_T, MPI_MAX, t->comm->world);
    ck_all(t->comm, own == all);
    return all;
}

/* Goes on in the run's folder to step `until`, and saves there when asked. */
static uint32_t train(const struct comm *c, int64_t until, bool save)
{
    struct trainer t;
    struct step_result r;
    ck_all(c, trainer_init(&t, &conf, &spec, c, slice_of(0, 0)) == OK);
    while (t.at.step < until)
        ck_all(c, trainer_step(&t, &r) == OK && r.finite);
    uint32_t bits = bits_of(&t);
    if (save) {
        ck_all(c, trainer_save(&t) == OK);
        ck_all(c, bits_of(&t) == bits);
    }
    ck_all(c, metrics_close(t.metrics) == OK);
    t.metrics = NULL;
    trainer_release(&t);
    return bits;
}

static void remove_run(const char *run)
{
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0)
        tiny_remove(run);
    MPI_Barrier(ck_world.world);
}

/* The bits after all steps: begun by `first` ranks and gone on with by `then`. */
static uint32_t bits_after(const char *name, const char *extra, int first, int then)
{
    struct comm few, more;
    uint32_t bits = 0;
    configure(name, "run", extra);
    ck_all(&ck_world, comm_first(&few, &ck_world, first) == OK);
    ck_all(&ck_world, comm_first(&more, &ck_world, then) == OK);
    if (few.size > 0)
        bits = train(&few, first == then ? STEPS : SAVED_AT, first != then);
    MPI_Barrier(ck_world.world);
    if (first != then && more.size > 0)
        bits = train(&more, STEPS, false);
    MPI_Bcast(&bits, 1, MPI_UINT32_T, 0, ck_world.world);
    if (few.size > 0)
        comm_end(&few);
    if (more.size > 0)
        comm_end(&more);
    remove_run("run");
    return bits;
}

static void compare(const char *name, const char *extra)
{
    uint32_t want = bits_after(name, extra, 1, 1);
    ck_assert_msg(bits_after(name, extra, 3, 3) == want, "%s on three ranks", name);
    ck_assert_msg(bits_after(name, extra, 3, 1) == want, "%s from three ranks to one", name);
    ck_assert_msg(bits_after(name, extra, 1, 3) == want, "%s from one rank to three", name);
}

START_TEST(a_rule_has_the_same_bits_on_any_ranks_and_across_a_checkpoint)
{
    compare(optim_row(_i)->name,
            optim_row(_i)->last_is_momentum ? "optimizer.momentum: 0.9\n" : "");
}
END_TEST

START_TEST(all_state_on_every_rank_has_the_same_bits)
{
    static const char *const names[] = {"muon", "adafactor", "lamb", "schedule_free"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_uint_eq(bits_after(names[i], "parallel.shard: none\n", 3, 3),
                          bits_after(names[i], "", 3, 3));
}
END_TEST

/* Planned and held memory may differ by the small parts that the plan does not list. */
static const double BUDGET_TOLERANCE = 0.05;

static void compare_memory(const char *name)
{
    struct trainer t;
    struct budget b;
    size_t before = mem_bytes();
    configure(name, "run", "");
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    double held = (double)(mem_bytes() - before), planned = 0;
    ck_assert_int_eq(budget_of(&b, &conf, &spec, &ck_world.team), OK);
    for (int i = 0; i < b.n; i++) {
        planned += strcmp(b.row[i].label, "program") == 0 ? 0 : b.row[i].bytes;
        if (b.row[i].shared && !team_leads(&ck_world.team))
            held += b.row[i].bytes;
    }
    MPI_Allreduce(MPI_IN_PLACE, &held, 1, MPI_DOUBLE, MPI_MAX, ck_world.world);
    ck_assert_msg(held > (1 - BUDGET_TOLERANCE) * planned &&
                      held < (1 + BUDGET_TOLERANCE) * planned,
                  "%s: held %.0f, planned %.0f", name, held, planned);
    ck_all(&ck_world, metrics_close(t.metrics) == OK);
    t.metrics = NULL;
    trainer_release(&t);
    remove_run("run");
}

START_TEST(memory_is_as_planned)
{
    compare_memory("sgd");
    compare_memory("prodigy");
    compare_memory("muon");
    compare_memory("adafactor");
}
END_TEST

static void add(TCase *t)
{
    int n = 0;
    while (optim_row(n) != NULL)
        n++;
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_loop_test(t, a_rule_has_the_same_bits_on_any_ranks_and_across_a_checkpoint, 0, n);
    tcase_add_test(t, all_state_on_every_rank_has_the_same_bits);
    tcase_add_test(t, memory_is_as_planned);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/optimizer", add);
}
