/* Saving while training goes on: the same weights and the same files, one save at a time, and
 * nothing left of one that fails or is given up.
 * ranks: 1 2 3 4 */
#include "base/err.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "tiny_run.h"
#include "train/ckpt_index.h"
#include "train/loop.h"

#include <dirent.h>

static struct config conf;
static struct model_spec spec;

START_TEST(a_store_to_train_on)
{
    tiny_put_store();
}
END_TEST

static void begin(struct trainer *t, const char *lines)
{
    tiny_config(&conf, &spec, lines);
    ck_all(&ck_world,
           trainer_init(t, &conf, &spec, &ck_world, slice_of(0, conf.train.time_limit_s)) == OK);
}

static void leave_folder(void)
{
    MPI_Barrier(ck_world.world);
    if (ck_world.rank == 0)
        tiny_remove("run");
    MPI_Barrier(ck_world.world);
}

static void step(struct trainer *t)
{
    struct step_result r;
    ck_all(&ck_world, trainer_step(t, &r) == OK);
}

static bool has_step(int64_t step)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(ckpt_path(path, conf.run.dir, step), OK);
    return fs_exists(path);
}

static int count_temporaries(void)
{
    char folder[FS_PATH_MAX];
    int n = 0;
    ck_assert_int_eq(fs_join(folder, conf.run.dir, "checkpoints"), OK);
    DIR *d = opendir(folder);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, ".tmp") != NULL;
    if (d != NULL)
        closedir(d);
    return n;
}

/* ---- the same weights, the same files ---- */

enum { N_STEPS = 40, EVERY = 9 };

/* Of a whole run: its weights, and of its checkpoints the names and sums of all arrays. */
struct outcome {
    uint32_t weights, file[N_STEPS + 1];
    bool saved[N_STEPS + 1];
};

static uint32_t sum_of_file(int64_t step)
{
    uint32_t crc = 0;
    char path[FS_PATH_MAX];
    struct ckpt_index x;
    ck_assert_int_eq(ckpt_path(path, conf.run.dir, step), OK);
    ck_assert_int_eq(ckpt_index_load(&x, path), OK);
    for (size_t i = 0; i < x.n; i++)
        crc = crc32c(crc, x.dataset[i].name, strlen(x.dataset[i].name));
    crc = crc32c(crc, x.crc, x.n_blocks * sizeof *x.crc);
    ckpt_index_release(&x);
    return crc;
}

static struct outcome outcome_of(const char *saving, const char *lines)
{
    char text[512];
    struct trainer t;
    struct outcome o = {0};
    snprintf(text, sizeof text, "checkpoint.keep: 20\n%s%s", saving, lines);
    begin(&t, text);
    ck_all(&ck_world, train_loop(&t) == OK);
    o.weights = crc32c(0, t.params, t.tensors->n_elems * sizeof(float));
    trainer_release(&t);
    for (int64_t i = 1; i <= N_STEPS; i++) {
        o.saved[i] = has_step(i);
        o.file[i] = o.saved[i] ? sum_of_file(i) : 0;
    }
    ck_all(&ck_world, count_temporaries() == 0);
    leave_folder();
    return o;
}

static void compare_savings(const char *lines)
{
    struct outcome none = outcome_of("checkpoint.every: 0\n", lines);
    struct outcome waits = outcome_of("checkpoint: {every: 9, async: off}\n", lines);
    struct outcome aside = outcome_of("checkpoint: {every: 9, async: on}\n", lines);
    ck_assert_uint_eq(waits.weights, none.weights);
    ck_assert_uint_eq(aside.weights, none.weights);
    for (int i = 1; i <= N_STEPS; i++) {
        ck_assert_int_eq(waits.saved[i], i % EVERY == 0 || i == N_STEPS);
        ck_assert_int_eq(aside.saved[i], waits.saved[i]);
        ck_assert_uint_eq(aside.file[i], waits.file[i]);
    }
}

START_TEST(saving_aside_changes_no_bit)
{
    compare_savings("");
    compare_savings("parallel.shard: none\n");
    compare_savings("optimizer.name: schedule_free\nschedule.name: constant\n");
}
END_TEST

/* A time limit is kept by what a save takes: the first step's, whatever is due, and no other more.
 */
START_TEST(a_time_limit_has_a_save_measured_at_the_first_step)
{
    struct outcome none = outcome_of("checkpoint.every: 0\n", "");
    for (int every = 0; every <= EVERY; every += EVERY) {
        char saving[64];
        snprintf(saving, sizeof saving, "checkpoint: {every: %d, async: on}\n", every);
        struct outcome limited = outcome_of(saving, "train.time_limit: 200000h\n");
        ck_assert_uint_eq(limited.weights, none.weights);
        for (int i = 1; i <= N_STEPS; i++)
            ck_assert_int_eq(limited.saved[i],
                             i == 1 || (every > 0 && i % every == 0) || i == N_STEPS);
    }
}
END_TEST

START_TEST(an_unmeasured_save_under_a_limit_waits)
{
    struct trainer t;
    begin(&t, "checkpoint.every: 1000\ntrain.time_limit: 200000h\n");
    step(&t);
    ck_all(&ck_world, save_is_unmeasured(&t) && save_at_step(&t, false, true) == OK);
    ck_all(&ck_world, t.saved_step == 1 && t.saving.flight == NULL && t.save_s > 0);
    step(&t);
    ck_all(&ck_world, save_at_step(&t, false, true) == OK && t.saving.flight != NULL);
    trainer_release(&t);
    leave_folder();
}
END_TEST

/* ---- one at a time ---- */

START_TEST(each_is_of_the_step_at_which_it_was_due)
{
    struct trainer t;
    begin(&t, "checkpoint.every: 2\n");
    step(&t);
    ck_all(&ck_world, save_at_step(&t, false, true) == OK && t.saving.flight != NULL);
    step(&t);
    ck_all(&ck_world, save_at_step(&t, true, true) == OK);
    ck_all(&ck_world, t.saved_step == 1 && has_step(1) && t.saving.step == 2);
    save_settle(&t);
    ck_all(&ck_world, t.saved_step == 2 && has_step(2));
    ck_all(&ck_world, save_at_step(&t, false, false) == OK && t.saving.flight == NULL);
    trainer_release(&t);
    leave_folder();
}
END_TEST

START_TEST(a_step_beside_a_save_allocates_nothing)
{
    struct trainer t;
    begin(&t, "checkpoint.every: 1000\n");
    step(&t);
    for (int round = 0; round < 3; round++) {
        ck_all(&ck_world, save_at_step(&t, false, true) == OK);
        size_t before = mem_n_allocs();
        step(&t);
        ck_all(&ck_world, mem_n_allocs() == before);
        ck_all(&ck_world, save_at_step(&t, false, false) == OK);
        before = mem_n_allocs();
        step(&t);
        ck_all(&ck_world, mem_n_allocs() == before);
        ck_all(&ck_world, save_at_step(&t, false, false) == OK && t.saved_step == t.at.step - 2);
    }
    trainer_release(&t);
    leave_folder();
}
END_TEST

/* ---- failures ---- */

static void arm(const char *spec_of_fault)
{
    setenv("CARAT_FAULT", spec_of_fault, 1);
    fault_rearm();
}

static void disarm(void)
{
    unsetenv("CARAT_FAULT");
    fault_rearm();
}

/* What a save comes to that fails at this point, after `failed` that did. */
static int outcome_of_fault(const char *fault, int failed)
{
    struct trainer t;
    begin(&t, "checkpoint.every: 1000\n");
    t.failed_saves = failed;
    step(&t);
    arm(fault);
    int rc = save_at_step(&t, false, true);
    for (int i = 0; i < 2 && rc == OK && t.saving.flight != NULL; i++) {
        step(&t);
        rc = save_at_step(&t, false, false);
    }
    disarm();
    ck_all(&ck_world, t.saving.flight == NULL && t.saved_step == -1);
    ck_all(&ck_world, count_temporaries() == 0 && !has_step(1));
    if (rc == OK) {
        ck_assert_int_eq(t.failed_saves, failed + 1);
        step(&t);
        ck_all(&ck_world, save_at_step(&t, false, true) == OK);
        save_settle(&t);
        ck_all(&ck_world, t.saved_step == t.at.step && t.failed_saves == 0);
    }
    trainer_release(&t);
    leave_folder();
    return rc;
}

START_TEST(a_save_that_fails_is_tried_again_but_not_for_ever)
{
    static const char *const points[] = {"ckpt.create", "ckpt.pwrite", "ckpt.fsync",
                                         "ckpt.readback", "ckpt.rename"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        char fault[64];
        snprintf(fault, sizeof fault, "%s:*", points[i]);
        ck_all(&ck_world, outcome_of_fault(fault, 0) == OK);
    }
    ck_all(&ck_world, outcome_of_fault("ckpt.pwrite:0", 2) == E_IO);
    ck_all(&ck_world, strstr(err_message(), "3 saves in a row failed") != NULL);
    err_clear();
}
END_TEST

START_TEST(a_run_that_ends_meanwhile_goes_on_from_the_older_one)
{
    struct trainer t;
    begin(&t, "checkpoint.every: 1000\n");
    for (int i = 0; i < 6; i++)
        step(&t);
    uint32_t want = crc32c(0, t.params, t.tensors->n_elems * sizeof(float));
    trainer_release(&t);
    leave_folder();
    begin(&t, "checkpoint.every: 1000\n");
    step(&t);
    ck_all(&ck_world, trainer_save(&t) == OK);
    for (int i = 0; i < 3; i++)
        step(&t);
    ck_all(&ck_world, save_at_step(&t, false, true) == OK);
    step(&t);
    trainer_release(&t);
    MPI_Barrier(ck_world.world);
    ck_all(&ck_world, has_step(1) && !has_step(4) && count_temporaries() == 0);
    begin(&t, "checkpoint.every: 1000\n");
    ck_assert_int_eq(t.at.step, 1);
    while (t.at.step < 6)
        step(&t);
    ck_assert_uint_eq(crc32c(0, t.params, t.tensors->n_elems * sizeof(float)), want);
    trainer_release(&t);
    leave_folder();
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, a_store_to_train_on);
    tcase_add_test(t, saving_aside_changes_no_bit);
    tcase_add_test(t, a_time_limit_has_a_save_measured_at_the_first_step);
    tcase_add_test(t, an_unmeasured_save_under_a_limit_waits);
    tcase_add_test(t, each_is_of_the_step_at_which_it_was_due);
    tcase_add_test(t, a_step_beside_a_save_allocates_nothing);
    tcase_add_test(t, a_save_that_fails_is_tried_again_but_not_for_ever);
    tcase_add_test(t, a_run_that_ends_meanwhile_goes_on_from_the_older_one);
}

int main(int argc, char **argv)
{
    return run_suite_mpi(&argc, &argv, "train/save", add);
}
