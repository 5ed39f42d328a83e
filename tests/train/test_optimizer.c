/* Every optimizer has the same bits on one rank and on all, and across a checkpoint that another
 * number of ranks goes on from.
 * ranks: 3 */
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "conf/config_file.h"
#include "data/store_write.h"
#include "mpi_main.h"
#include "train/budget.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 60, N_TOKENS = 4000, STEPS = 5, SAVED_AT = 3 };

static struct config conf;
static struct model_spec spec;

static void write_store(const char *path)
{
    struct store_writer *w;
    const struct store_facts facts = {.arguments = "test"};
    const struct store_division division = {.seed = 1, .n_valid = 2};
    struct store_counts counts;
    ck_assert_int_eq(store_writer_new(&w, path, VOCAB), OK);
    for (int i = 0; i < N_TOKENS; i++) {
        int32_t id = (int32_t)(rng_u64(1, 3, (uint64_t)i) % VOCAB);
        ck_assert_int_eq(store_writer_add(w, &id, 1), OK);
        if (i % 300 == 299)
            ck_assert_int_eq(store_writer_end_document(w), OK);
    }
    ck_assert_int_eq(store_writer_finish(w, &facts, &division, &counts), OK);
    store_writer_free(w);
}

START_TEST(a_store_to_train_on)
{
    char path[FS_PATH_MAX];
    fs_join(path, ck_folder(), "tokens.h5");
    if (ck_world.rank == 0)
        write_store(path);
    MPI_Barrier(ck_world.world);
}
END_TEST

/* A model of more blocks than ranks, and of matrices that are wide, tall and square. */
static void configure(const char *name, const char *run, const char *extra)
{
    struct conf_origins origins;
    char text[4096];
    snprintf(text, sizeof text,
             "run.dir: %s/%s\ndata.train: %s/tokens.h5\nmodel.preset: gemma3-nano\n"
             "batch.global: 6\nbatch.seq_len: 16\ntrain.steps: 5\nschedule.warmup: 2\n"
             "parallel.bucket_mib: 1\noptimizer.name: %s\noptimizer.lr: 1e-2\n%s",
             ck_folder(), run, ck_folder(), name, extra);
    ck_assert_msg(conf_load_text(&conf, &origins, text, "test") == OK, "%s", err_message());
    ck_assert_int_eq(spec_preset(&spec, "gemma3-nano"), OK);
    spec.V = VOCAB;
    spec.L = 2;
    spec.D = 64;
    spec.F = 150;
    spec.window = 7;
    ck_assert_int_eq(spec_check(&spec), OK);
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
    ck_all(c, trainer_init(&t, &conf, &spec, c, 0) == OK);
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
    char command[FS_PATH_MAX + 16];
    MPI_Barrier(ck_world.world);
    snprintf(command, sizeof command, "rm -rf '%s/%s'", ck_folder(), run);
    if (ck_world.rank == 0)
        ck_assert_int_eq(system(command), 0);
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
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, 0) == OK);
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
