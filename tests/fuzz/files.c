#include "files.h"
#include "../../src/train/metrics_parts.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "data/store_write.h"
#include "fuzz.h"
#include "io/h5x.h"
#include "tiny.h"
#include "train/ckpt.h"

#include <string.h>
#include <unistd.h>

/* In the place of carat's: without the room that it reserves, files are a few KiB. */
int __wrap_h5x_build(const struct comm *c, const char *path, size_t n_objects,
                     int (*make)(void *ctx, hid_t file), void *ctx, const char *fault);
int __wrap_h5x_build(const struct comm *c, const char *path, size_t n_objects,
                     int (*make)(void *ctx, hid_t file), void *ctx, const char *fault)
{
    hid_t file;
    (void)c, (void)n_objects, (void)fault;
    MUST(h5x_create(&file, path) == OK);
    MUST(make(ctx, file) == OK);
    return h5x_close(&file);
}

void fuzz_write_checkpoint(const struct comm *alone, const char *path)
{
    struct model_spec spec;
    struct tensor_table table;
    struct shard shard;
    struct ckpt_set set = {.n_arrays = 2};
    struct ckpt_meta *m = &set.meta;
    float *params;
    char state[] = "spike.loss 1 2\n", config[] = "run.seed: 1\n", history[] = "{\"step\":[]}";
    fuzz_tiny(&spec, &table);
    shard_init(&shard, table.n_elems, 1 << 16, 1, 0);
    MUST(mem_alloc(&params, table.n_elems, sizeof *params, "parameters") == OK);
    set.tensors = &table;
    set.array[0] = (struct ckpt_array){.kind = "params", .data = params, .slab = true};
    set.array[1] = (struct ckpt_array){.kind = "exp_avg", .data = params, .slab = true};
    set.array[0].shard = set.array[1].shard = &shard;
    *m = (struct ckpt_meta){.step = 1, .ranks = 1, .micro = 1, .threads = 1, .run_id = "id"};
    m->config_text = config;
    m->state = state;
    m->history = history;
    m->tokenizer = config;
    m->n_tokenizer = strlen(config);
    MUST(spec_to_json(&spec, &m->spec_json) == OK);
    MUST(ckpt_write(alone, path, &set, NULL) == OK);
    mem_free(m->spec_json);
    mem_free(params);
    tensors_release(&table);
}

void fuzz_write_store(const char *path, int vocab)
{
    static const char *const sources[] = {"a.txt", "b.txt"};
    const struct store_facts facts = {.tokenizer = "model",
                                      .tokenizer_bytes = 5,
                                      .tokenizer_hash = "abc",
                                      .sources = sources,
                                      .n_sources = 2,
                                      .arguments = "a.txt b.txt"};
    const struct store_division division = {.seed = 1, .n_valid = 1};
    struct store_counts counts;
    struct store_writer *w;
    MUST(store_writer_new(&w, path, vocab) == OK);
    for (int32_t i = 0; i < 60; i++) {
        MUST(store_writer_add(w, &i, 1) == OK);
        if (i % 20 == 19)
            MUST(store_writer_end_document(w) == OK);
    }
    MUST(store_writer_finish(w, &facts, &division, &counts) == OK);
    store_writer_free(w);
}

void fuzz_write_segment(const struct comm *alone, const char *path)
{
    struct segment s = {.attempt = 0, .rows = 3, .n_beside = {2, 3}};
    char run[FS_PATH_MAX], *bytes;
    double row[STEP_WIDTH] = {[M_LOSS] = 2.5};
    size_t n;
    MUST(fs_join(run, fuzz_dir(), "run") == OK);
    unlink(fuzz_file("run/metrics/seg-0000-0000.h5", "", 0));
    MUST(segment_create(alone, &s, run) == OK);
    MUST(fs_read_file(s.path, 0, &bytes, &n) == OK);
    for (int i = 0; i < 2; i++) {
        row[M_STEP] = i + 1;
        metrics_seal(row, STEP_WIDTH);
        memcpy(bytes + segment_step_at(&s, i), row, sizeof row);
    }
    MUST(fs_write_file(path, bytes, n) == OK);
    mem_free(bytes);
}
