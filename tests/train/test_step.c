/* One step: no allocation, the planned memory, the same outcome on every rank.
 * ranks: 1 2 3 4 6 */
#include "base/err.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "kern/gemm16.h"
#include "tiny_run.h"
#include "train/budget.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Planned and held memory may differ by the small parts that the plan does not list. */
static const double BUDGET_TOLERANCE = 0.05;
/* Micro-batches of another size sum in another order: rounding of single precision. */
static const double MICRO_TOLERANCE = 1e-5;

/* Batches of 2, 3, 5 and 7, of which the first leave most ranks without a micro-batch. */
static const char RAMP[] = "batch.micro: 2\nbatch.ramp: \"0:2 2 steps:3 9 samples:5 7 steps:7\"\n"
                           "scaling: {rule: half_life, base_batch: 3}\n";

static struct config conf;
static struct model_spec spec;

static bool has_bf16(void)
{
    if (gemm16_missing() != NULL && ck_world.rank == 0)
        printf("SKIP: bfloat16: %s\n", gemm16_missing());
    return gemm16_missing() == NULL;
}

static void configure(const char *extra)
{
    char lines[2048];
    snprintf(lines, sizeof lines,
             "batch.global: 7\nbatch.seq_len: 20\ntrain.steps: 40\noptimizer.lr: 5e-3\n"
             "schedule.warmup: 2\n%s",
             extra);
    tiny_load(&conf, "run", lines);
    tiny_model(&spec, 36, 50);
}

static void begin(struct trainer *t, const char *extra)
{
    configure(extra);
    ck_all(&ck_world, trainer_init(t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
}

static void finish(struct trainer *t)
{
    ck_all(&ck_world, metrics_close(t->metrics) == OK);
    t->metrics = NULL;
    trainer_release(t);
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0)
        tiny_remove("run");
    MPI_Barrier(ck_world.world);
}

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

/* What else training may have: all but muP, which is another model. */
#define EVERYTHING                                                                                 \
    "regularize: {dropout: 0.05, label_smoothing: 0.05, z_loss: 1e-4, l1: 1e-6, l2: 1e-4}\n"       \
    "optimizer.clip_value: 0.1\noptimizer.clip_adaptive: 0.5\n"                                    \
    "rates: {layer_decay: 0.9, norms: 0.5, freeze: \"*.k_norm.* *.0.mlp.up*\"}\n"

static void learn(const char *extra)
{
    struct trainer t;
    struct step_result r, first_result;
    begin(&t, extra);
    ck_all(&ck_world, trainer_step(&t, &first_result) == OK);
    size_t before = mem_n_allocs();
    for (int i = 0; i < 30; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_all(&ck_world, mem_n_allocs() == before);
    ck_assert_double_lt(r.loss, first_result.loss - 0.5);
    ck_assert_double_eq_tol(first_result.loss, log(TINY_VOCAB), 0.5);
    ck_assert_double_eq(r.targets, 7 * 20);
    ck_assert_int_eq(t.at.step, 31);
    ck_assert_int_eq(t.at.samples, 31 * 7);
    finish(&t);
}

START_TEST(a_step_allocates_nothing_and_learns)
{
    learn("batch.micro: 2\n");
    if (has_bf16())
        learn("batch.micro: 2\nnumerics.precision: bf16\nmemory.recompute: full\n");
    learn("batch.micro: 2\n" EVERYTHING);
}
END_TEST

static void compare_memory(const char *extra)
{
    struct trainer t;
    struct budget b;
    size_t before = mem_bytes();
    begin(&t, extra);
    double held = (double)(mem_bytes() - before), planned = 0;
    ck_assert_int_eq(budget_of(&b, &conf, &spec, &ck_world.team), OK);
    for (int i = 0; i < b.n; i++) {
        planned += strcmp(b.row[i].label, "program") == 0 ? 0 : b.row[i].bytes;
        /* What a node holds once, its first rank holds. */
        if (b.row[i].shared && !team_leads(&ck_world.team))
            held += b.row[i].bytes;
    }
    double most = held;
    MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_DOUBLE, MPI_MAX, ck_world.world);
    ck_assert_msg(fabs(most - planned) <= BUDGET_TOLERANCE * planned, "%s: held %.0f, planned %.0f",
                  extra, most, planned);
    finish(&t);
}

START_TEST(memory_is_as_planned)
{
    compare_memory("batch.micro: 3\n");
    compare_memory("batch.micro: 3\nmemory.recompute: full\n");
    compare_memory(RAMP);
    compare_memory("batch.micro: 3\n" EVERYTHING);
    if (has_bf16())
        compare_memory("batch.micro: 3\nnumerics.precision: bf16\n");
}
END_TEST

START_TEST(the_cut_into_micro_batches_does_not_change_the_sum)
{
    struct trainer t;
    struct step_result one, many;
    begin(&t, "batch.micro: 7\n");
    ck_all(&ck_world, trainer_step(&t, &one) == OK);
    finish(&t);
    begin(&t, "batch.micro: 2\n");
    ck_all(&ck_world, trainer_step(&t, &many) == OK);
    finish(&t);
    ck_assert_double_eq_tol(one.loss, many.loss, MICRO_TOLERANCE * one.loss);
    ck_assert_double_eq_tol(one.grad_norm, many.grad_norm, MICRO_TOLERANCE * one.grad_norm * 10);
    ck_assert_double_eq(one.accuracy, many.accuracy);
}
END_TEST

START_TEST(a_value_that_is_not_finite_leaves_the_update_out)
{
    struct trainer t;
    struct step_result r;
    begin(&t, "batch.micro: 1\n");
    ck_all(&ck_world, trainer_step(&t, &r) == OK && r.finite);
    const struct tensor *norm = tensors_get(t.tensors, TENSOR_FINAL_NORM, -1);
    t.params[norm->offset] = NAN; /* on every rank: parameters are the same everywhere */
    float other = t.params[norm->offset + 1];
    for (int i = 0; i < 9; i++) {
        ck_all(&ck_world, trainer_step(&t, &r) == OK && !r.finite);
        ck_assert_float_eq(t.params[norm->offset + 1], other);
    }
    ck_all(&ck_world, trainer_step(&t, &r) == E_DIVERGED);
    err_clear();
    finish(&t);
}
END_TEST

START_TEST(one_ranks_error_ends_all_alike)
{
    struct trainer t;
    struct step_result r;
    begin(&t, "batch.micro: 1\n");
    if (ck_world.rank == ck_world.size - 1)
        t.pending = ERR(E_IO, "the disk of this rank");
    ck_all(&ck_world, trainer_step(&t, &r) == E_IO);
    ck_all(&ck_world, strstr(err_message(), "the disk of this rank") != NULL);
    err_clear();
    finish(&t);
}
END_TEST

/* Two steps by the ranks of c; what the parameters are then. */
static uint32_t weights_after(const struct comm *c, const char *extra)
{
    struct trainer t;
    struct step_result r;
    configure(extra);
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, c, slice_of(0, 0)) == OK);
    for (int i = 0; i < 2; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    uint32_t sum = crc32c(0, t.params, t.tensors->n_elems * sizeof(float));
    uint32_t first = sum;
    MPI_Bcast(&first, 1, MPI_UINT32_T, 0, c->world);
    ck_all(&ck_world, sum == first);
    finish(&t);
    return sum;
}

/* However many ranks share a node, with the settings of `extra`, which change the bits of others.
 */
static uint32_t weights_of_all(const char *extra)
{
    char text[1024];
    snprintf(text, sizeof text, "batch.micro: 1\n%s", extra);
    uint32_t want = weights_after(&ck_world, text);
    for (int n = 1; n <= ck_world.size; n++) {
        struct comm c;
        char ranks[16];
        snprintf(ranks, sizeof ranks, "%d", n);
        setenv("CARAT_RANKS_PER_NODE", ranks, 1);
        ck_all(&ck_world, comm_first(&c, &ck_world, ck_world.size) == OK);
        unsetenv("CARAT_RANKS_PER_NODE");
        snprintf(text, sizeof text, "batch.micro: 1\n%s", extra);
        ck_assert_uint_eq(weights_after(&c, text), want);
        snprintf(text, sizeof text, "batch.micro: 1\nparallel.share_params: off\n%s", extra);
        ck_assert_uint_eq(weights_after(&c, text), want);
        comm_end(&c);
    }
    return want;
}

START_TEST(who_shares_memory_changes_no_bit)
{
    uint32_t want = weights_of_all("");
    ck_assert_uint_eq(weights_after(&ck_world, "batch.micro: 1\nparallel.shard: none\n"), want);
    ck_assert_uint_eq(weights_after(&ck_world, "batch.micro: 1\nmemory.recompute: full\n"), want);
    ck_assert_uint_ne(weights_after(&ck_world, "batch.micro: 1\nrun.seed: 9\n"), want);
    uint32_t all = weights_of_all(EVERYTHING);
    ck_assert_uint_ne(all, want);
    ck_assert_uint_eq(weights_after(&ck_world, "batch.micro: 1\nparallel.shard: none\n" EVERYTHING),
                      all);
    if (has_bf16())
        ck_assert_uint_ne(weights_of_all("numerics.precision: bf16\n"), want);
}
END_TEST

START_TEST(the_batch_follows_its_ramp)
{
    static const int64_t batch[] = {2, 2, 3, 3, 5, 5, 5, 7, 7};
    struct trainer t;
    struct step_result r;
    int64_t samples = 0;
    begin(&t, RAMP);
    size_t before = mem_n_allocs();
    for (size_t i = 0; i < sizeof batch / sizeof *batch; i++) {
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
        samples += batch[i];
        ck_assert_int_eq(r.batch, batch[i]);
        ck_assert_double_eq(r.targets, (double)batch[i] * 20);
        ck_assert_int_eq(t.at.samples, samples);
        ck_assert_int_eq(t.at.sched_samples, samples);
        ck_assert_double_eq_tol(r.set.beta1, pow(0.9, (double)batch[i] / 3), 1e-15);
    }
    ck_all(&ck_world, mem_n_allocs() == before);
    finish(&t);
}
END_TEST

/* The weights after n steps of a run that is saved and resumed after `half` of them (0: at once);
 * the ranks go by another layout then. */
static uint32_t weights_of_ramp(const struct comm *c, int half, int n)
{
    struct trainer t;
    struct step_result r;
    begin(&t, RAMP);
    for (int i = 0; i < half; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    if (half > 0) {
        ck_all(&ck_world, trainer_save(&t) == OK);
        trainer_release(&t);
        ck_all(&ck_world, trainer_init(&t, &conf, &spec, c, slice_of(0, 0)) == OK);
    }
    for (int i = half; i < n; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    uint32_t sum = crc32c(0, t.params, t.tensors->n_elems * sizeof(float));
    finish(&t);
    return sum;
}

START_TEST(a_ramp_resumes_to_the_same_bits)
{
    uint32_t want = weights_of_ramp(&ck_world, 0, 9);
    const struct comm apart = comm_without_teams(&ck_world);
    for (int half = 1; half <= 8; half += 1 + half / 3)
        ck_all(&ck_world, weights_of_ramp(&apart, half, 9) == want);
}
END_TEST

/* Another batch takes over from what is consumed, whatever steps that took. */
START_TEST(a_changed_batch_counts_from_what_is_done)
{
    struct trainer t;
    struct step_result r;
    begin(&t, "batch.micro: 1\n");
    for (int i = 0; i < 4; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_all(&ck_world, trainer_save(&t) == OK);
    trainer_release(&t);
    configure("batch.micro: 1\nbatch.ramp: \"0:5 32 samples:10\"\n");
    conf.batch.global = 10;
    conf.train.length = (struct amount){70 * 20, UNIT_TOKENS};
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    ck_assert_int_eq(t.n_steps, 4 + 1 + 4); /* 28, 33, 43, 53, 63, 73 */
    while (t.at.step < t.n_steps)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_assert_int_eq(t.at.samples, 73);
    finish(&t);
}
END_TEST

/* The gain that each step has is carried over a restart, and with it the length of the run. */
START_TEST(adascale_goes_on_where_it_was)
{
    static const char job[] = "batch.micro: 2\nscaling: {rule: adascale, base_batch: 2}\n"
                              "noise.every: 1000000\n";
    struct trainer t;
    struct step_result r;
    begin(&t, job);
    ck_all(&ck_world, trainer_step(&t, &r) == OK && r.gain == 1);
    t.gain.trace = 6; /* of a sequence; 3 of the base batch, beside a signal of 1 */
    t.gain.signal = 1;
    for (int i = 0; i < 3; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    double gain = 4 / (3 / 3.5 + 1);
    ck_assert_double_eq_tol(r.gain, gain, 1e-15);
    ck_assert_double_eq_tol(t.gain.lag_steps, 4 - (1 + 3 * gain) / 3.5, 1e-14);
    ck_assert_int_eq(t.n_steps, 4 + (int64_t)ceil((40 - (1 + 3 * gain) / 3.5) / (gain / 3.5)));
    struct gain before = t.gain;
    int64_t n_steps = t.n_steps;
    ck_all(&ck_world, trainer_save(&t) == OK);
    trainer_release(&t);
    ck_all(&ck_world, trainer_init(&t, &conf, &spec, &ck_world, slice_of(0, 0)) == OK);
    ck_assert_mem_eq(&t.gain, &before, sizeof before);
    ck_assert_int_eq(t.n_steps, n_steps);
    ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_assert_double_eq(r.gain, gain);
    finish(&t);
}
END_TEST

START_TEST(frozen_tensors_stay_and_keep_no_state)
{
    struct trainer t;
    struct step_result r;
    begin(&t, "batch.micro: 2\n");
    size_t all = shard_count(&t.state, t.state.rank);
    finish(&t);
    begin(&t, "batch.micro: 2\nrates.freeze: embed 0\n");
    size_t trained = shard_count(&t.state, t.state.rank), n = 0;
    size_t end = tensors_get(t.tensors, TENSOR_INPUT_NORM, 1)->offset;
    uint32_t before = crc32c(0, t.params, end * sizeof(float));
    uint32_t above = crc32c(0, t.params + end, (t.tensors->n_elems - end) * sizeof(float));
    for (int i = 0; i < 3; i++)
        ck_all(&ck_world, trainer_step(&t, &r) == OK);
    ck_assert_uint_eq(crc32c(0, t.params, end * sizeof(float)), before);
    ck_assert_uint_ne(crc32c(0, t.params + end, (t.tensors->n_elems - end) * sizeof(float)), above);
    uint64_t mine[2] = {all, trained}, sum[2];
    MPI_Allreduce(mine, sum, 2, MPI_UINT64_T, MPI_SUM, ck_world.world);
    for (int i = 0; i < t.tensors->n; i++)
        n += t.tensors->row[i].frozen ? t.tensors->row[i].n : 0;
    ck_assert_uint_gt(n, 0);
    /* Between tensors are gaps of less than a cache line. */
    ck_assert_uint_ge(sum[0] - sum[1], n);
    ck_assert_uint_le(sum[0] - sum[1], n + 16 * (size_t)t.tensors->n);
    finish(&t);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, who_shares_memory_changes_no_bit);
    tcase_add_test(t, a_step_allocates_nothing_and_learns);
    tcase_add_test(t, the_batch_follows_its_ramp);
    tcase_add_test(t, a_ramp_resumes_to_the_same_bits);
    tcase_add_test(t, a_changed_batch_counts_from_what_is_done);
    tcase_add_test(t, adascale_goes_on_where_it_was);
    tcase_add_test(t, memory_is_as_planned);
    tcase_add_test(t, the_cut_into_micro_batches_does_not_change_the_sum);
    tcase_add_test(t, a_value_that_is_not_finite_leaves_the_update_out);
    tcase_add_test(t, one_ranks_error_ends_all_alike);
    tcase_add_test(t, frozen_tensors_stay_and_keep_no_state);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/step", add);
}
