/* What saving costs a run: how long training stands still, with and without checkpoint.async, and
 * what it loses beside that while a checkpoint is being written, against the copy of the memory and
 * a plain fsynced write of the same bytes. Arguments are the folder to write in (else $TMPDIR or
 * /tmp) and the one shape that is to be measured, from 0. For `make bench`: ranks: 2 */
#include "train/save.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "conf/config_file.h"
#include "data/store_write.h"
#include "train/loop.h"
#include "train/shape.h"
#include "train/trainer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { VOCAB = 4096, N_TOKENS = 200000, ROUNDS = 5, WARM = 3, PLAIN_MOST = 400 };

static char folder[FS_PATH_MAX];

static const struct shape {
    const char *name, *lines;
} shapes[] = {
    {"W1", "model: {preset: gemma3-mini, vocab: 4096}\n"
           "batch: {global: 16, micro: 8, seq_len: 256}\n"},
    {"width 640, 12 layers",
     "model: {preset: gemma3-mini, vocab: 4096, width: 640, layers: 12, ffn: 2560}\n"
     "batch: {global: 4, micro: 2, seq_len: 128}\n"},
};

static void make_store(const char *path)
{
    struct store_writer *w;
    const struct store_facts facts = {.arguments = "bench"};
    const struct store_division division = {.seed = 1, .n_valid = 1};
    struct store_counts counts;
    must(store_writer_new(&w, path, VOCAB));
    for (uint64_t i = 0; i < N_TOKENS; i++) {
        int32_t id = (int32_t)(rng_u64(1, 2, i) % VOCAB);
        must(store_writer_add(w, &id, 1));
        if (i % 10000 == 9999)
            must(store_writer_end_document(w));
    }
    must(store_writer_finish(w, &facts, &division, &counts));
    store_writer_free(w);
}

/* ---- steps ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_size);
    return v[n / 2];
}

static double slowest(double s)
{
    MPI_Allreduce(MPI_IN_PLACE, &s, 1, MPI_DOUBLE, MPI_MAX, world.world);
    return s;
}

static double step(struct trainer *t, bool *saving)
{
    struct step_result r;
    double begin = clock_now_s();
    must(trainer_step(t, &r));
    *saving = r.saving;
    return slowest(clock_now_s() - begin);
}

/* ---- one save ---- */

struct round {
    double held_s, copy_s; /* still; of that the copy */
    double steps_s;        /* while it was written */
    int steps;
    double work_s; /* from begin to publication, without steps */
};

static struct round save_aside(struct trainer *t)
{
    struct round r = {0};
    bool saving;
    must(save_at_step(t, false, true));
    r.copy_s = slowest(ckpt_save_cost(t->saving.flight).staging_s);
    while (t->saving.flight != NULL) {
        r.steps_s += step(t, &saving);
        r.steps++;
        must(save_at_step(t, saving, false));
    }
    r.held_s = slowest(t->save_held_s);
    r.work_s = t->save_s;
    return r;
}

static double save_waiting(struct trainer *t)
{
    double begin = clock_now_s();
    must(trainer_save(t));
    return slowest(clock_now_s() - begin);
}

/* The floor: each rank writes as many bytes to a file of its own. */
static double plain_write(const struct trainer *t)
{
    char path[FS_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/plain-%d", folder, world.rank);
    MPI_Barrier(world.world);
    double begin = clock_now_s();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 ? OK : ERR(E_IO, "%s: cannot create", path));
    must(fs_pwrite(fd, t->saving.staging, t->saving.staging_bytes, 0, path));
    must(fsync(fd) == 0 && close(fd) == 0 ? OK : ERR(E_IO, "%s: cannot write", path));
    double s = slowest(clock_now_s() - begin);
    unlink(path);
    return s;
}

/* ---- a shape ---- */

static void report(double bytes, const double *plain, struct round *aside, double *waiting,
                   double *floor)
{
    double held[ROUNDS], copy[ROUNDS], lost[ROUNDS], steps[ROUNDS], work[ROUNDS], typical;
    for (int i = 0; i < ROUNDS; i++) {
        held[i] = aside[i].held_s;
        copy[i] = aside[i].copy_s;
        lost[i] = aside[i].steps_s - aside[i].steps * plain[i] + aside[i].held_s - aside[i].copy_s;
        steps[i] = aside[i].steps;
        work[i] = aside[i].work_s;
    }
    double each[ROUNDS];
    memcpy(each, plain, sizeof each);
    typical = median(each, ROUNDS);
    double copied = median(copy, ROUNDS), extra = median(lost, ROUNDS);
    double waits = median(waiting, ROUNDS), writes = median(floor, ROUNDS);
    print("  a step %.3f s; a checkpoint %.0f MiB\n", typical, bytes / MIB);
    print("  staging copy            %8.3f s  %6.2f GB/s\n", copied, bytes / copied * 1e-9);
    print("  training stands still   %8.3f s  with checkpoint.async on, %.3f s off\n",
          median(held, ROUNDS), waits);
    print("  written and read back   %8.3f s  %6.2f GB/s over %.0f steps; waiting %.2f GB/s\n",
          median(work, ROUNDS), bytes / median(work, ROUNDS) * 1e-9, median(steps, ROUNDS),
          bytes / waits * 1e-9);
    print("  plain write and fsync   %8.3f s  %6.2f GB/s\n", writes, bytes / writes * 1e-9);
    print("  lost beside the copy    %8.3f s  a save: %.2f%% of training at a save every 100 "
          "steps, %.2f%% every 500\n",
          extra, extra / typical, extra / typical / 5);
}

/* The median of about so many steps without a save. */
static double plain_step(struct trainer *t, int like)
{
    double each[PLAIN_MOST] = {0};
    bool saving;
    int n = like < 5 ? 5 : like < PLAIN_MOST ? like : PLAIN_MOST;
    for (int k = 0; k < n; k++)
        each[k] = step(t, &saving);
    return median(each, n);
}

static void measure(struct trainer *t)
{
    struct round aside[ROUNDS];
    double plain[ROUNDS], waiting[ROUNDS], floor[ROUNDS], bytes = 0;
    bool saving;
    for (int i = 0; i < WARM; i++)
        step(t, &saving);
    save_aside(t);
    for (int i = 0; i < ROUNDS; i++) {
        aside[i] = save_aside(t);
        plain[i] = plain_step(t, aside[i].steps);
        waiting[i] = save_waiting(t);
        step(t, &saving);
        floor[i] = plain_write(t);
        step(t, &saving);
    }
    bytes = (double)t->saving.staging_bytes;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_DOUBLE, MPI_SUM, world.world);
    report(bytes, plain, aside, waiting, floor);
}

static void bench_shape(int i)
{
    static struct config conf;
    static struct trainer t;
    struct conf_origins origins;
    struct model_spec spec;
    char text[3 * FS_PATH_MAX];
    snprintf(text, sizeof text,
             "run.dir: %s/run\ndata.train: %s/tokens.h5\ntrain.steps: 100000\nmonitor.nonfinite: "
             "skip\noptimizer.lr: 1e-4\n%s",
             folder, folder, shapes[i].lines);
    must(conf_load_text(&conf, &origins, text, "bench"));
    must(shape_with_data(&spec, &conf));
    must(trainer_init(&t, &conf, &spec, &world, slice_of(clock_now_s(), 0)));
    print("%s, %d ranks\n", shapes[i].name, world.size);
    measure(&t);
    trainer_release(&t);
    MPI_Barrier(world.world);
}

static void remove_folder(const char *what)
{
    char command[FS_PATH_MAX + 64];
    snprintf(command, sizeof command, "rm -rf '%s%s'", folder, what);
    MPI_Barrier(world.world);
    if (world.rank == 0 && system(command) != 0)
        print("%s is left\n", folder);
    MPI_Barrier(world.world);
}

int main(int argc, char **argv)
{
    char store[FS_PATH_MAX];
    must(comm_init(&world, &argc, &argv));
    const char *base = argc > 1 ? argv[1] : getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    snprintf(folder, sizeof folder, "%s/carat-save-XXXXXX", base);
    if (world.rank == 0 && mkdtemp(folder) == NULL)
        fatal(E_IO, "%s: cannot create", folder);
    MPI_Bcast(folder, sizeof folder, MPI_BYTE, 0, world.world);
    must(fs_join(store, folder, "tokens.h5"));
    if (world.rank == 0)
        make_store(store);
    MPI_Barrier(world.world);
    log_quiet(true);
    for (int i = 0; i < (int)(sizeof shapes / sizeof *shapes); i++) {
        if (argc > 2 && atoi(argv[2]) != i)
            continue;
        bench_shape(i);
        remove_folder("/run");
    }
    remove_folder("");
    comm_end(&world);
    return 0;
}
