/* A small model and text for tests of the trainer. */
#ifndef CARAT_TESTS_TRAIN_TINY_RUN_H
#define CARAT_TESTS_TRAIN_TINY_RUN_H

#include "base/fs.h"
#include "base/rng.h"
#include "conf/config_file.h"
#include "data/store_write.h"
#include "mpi_main.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TINY_VOCAB = 60, TINY_TOKENS = 6000, TINY_BATCH = 7, TINY_T = 20 };

/* Each token follows from the last but for a quarter of the cases: something to learn. Documents
 * end at targets that do not count, so that micro-batches have different numbers of them. */
static inline void tiny_store(const char *path)
{
    struct store_writer *w;
    const struct store_facts facts = {.arguments = "test"};
    const struct store_division division = {.seed = 1, .n_valid = 2};
    struct store_counts counts;
    ck_assert_int_eq(store_writer_new(&w, path, TINY_VOCAB), OK);
    for (int i = 0; i < TINY_TOKENS; i++) {
        bool follows = rng_uniform(1, 2, (uint64_t)i) < 0.75;
        int32_t id =
            (int32_t)((follows ? (uint64_t)i * 7 : rng_u64(1, 3, (uint64_t)i)) % TINY_VOCAB);
        ck_assert_int_eq(store_writer_add(w, &id, 1), OK);
        if (i % 43 == 42)
            ck_assert_int_eq(store_writer_end_document(w), OK);
    }
    ck_assert_int_eq(store_writer_finish(w, &facts, &division, &counts), OK);
    store_writer_free(w);
}

/* Where tiny_load looks for it. Collective. */
static inline void tiny_put_store(void)
{
    char path[FS_PATH_MAX];
    ck_assert_int_eq(fs_join(path, ck_folder(), "tokens.h5"), OK);
    if (ck_world.rank == 0)
        tiny_store(path);
    MPI_Barrier(ck_world.world);
}

/* A job on it with these lines, whose run has that name. */
static inline void tiny_load(struct config *conf, const char *run, const char *lines)
{
    struct conf_origins origins;
    char text[4096];
    snprintf(text, sizeof text,
             "run.dir: %s/%s\ndata.train: %s/tokens.h5\nmodel.preset: gemma3-nano\n%s", ck_folder(),
             run, ck_folder(), lines);
    ck_assert_msg(conf_load_text(conf, &origins, text, "test") == OK, "%s", err_message());
}

static inline void tiny_model(struct model_spec *spec, int D, int F)
{
    ck_assert_int_eq(spec_preset(spec, "gemma3-nano"), OK);
    spec->V = TINY_VOCAB;
    spec->L = 2;
    spec->D = D;
    spec->F = F;
    spec->window = 7;
    ck_assert_int_eq(spec_check(spec), OK);
}

static inline void tiny_config(struct config *conf, struct model_spec *spec, const char *extra)
{
    char lines[2048];
    snprintf(lines, sizeof lines,
             "data.boundary: loss\nbatch.global: %d\nbatch.seq_len: %d\ntrain.steps: 40\n"
             "optimizer.lr: 5e-3\nschedule.warmup: 2\n%s%s",
             TINY_BATCH, TINY_T, strstr(extra, "noise.every") == NULL ? "noise.every: 1\n" : "",
             extra);
    tiny_load(conf, "run", lines);
    tiny_model(spec, 36, 50);
}

/* A run folder; local. */
static inline void tiny_remove(const char *run)
{
    char command[FS_PATH_MAX + 16];
    snprintf(command, sizeof command, "rm -rf '%s/%s'", ck_folder(), run);
    ck_assert_int_eq(system(command), 0);
}

#endif
