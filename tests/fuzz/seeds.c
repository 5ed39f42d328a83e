/* Writes files of each kind as carat writes them, for the fuzzers to begin with: seeds FOLDER, into
 * FOLDER/<fuzzer>/. Their checksums are those of tests/fuzz/sums.c. Also FOLDER/<fuzzer>.dict, the
 * words of a job file. */
#include "../../src/train/metrics_parts.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/config_file.h"
#include "data/store_write.h"
#include "fuzz.h"
#include "io/h5x.h"
#include "io/safetensors.h"
#include "par/comm.h"
#include "text/tokenizer.h"
#include "tiny.h"
#include "train/ckpt.h"
#include "train/events.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static struct comm alone;
static const char *folder;

/* "<folder>/<name>", good until the next but three. */
static const char *place(const char *name)
{
    static char kept[4][FS_PATH_MAX];
    static unsigned next;
    char *path = kept[next++ % 4], parent[FS_PATH_MAX];
    MUST(fs_join(path, folder, name) == OK);
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    MUST(fs_mkdirs(parent) == OK);
    unlink(path);
    return path;
}

static void put_text(const char *name, const char *text)
{
    MUST(fs_write_file(place(name), text, strlen(text)) == OK);
}

/* In the place of carat's: without the room that it reserves, files are a few KiB. */
int __wrap_h5x_build(const struct comm *c, const char *path, size_t n_objects,
                     int (*make)(void *ctx, hid_t file), void *ctx, const char *fault);
int __wrap_h5x_build(const struct comm *c, const char *path, size_t n_objects,
                     int (*make)(void *ctx, hid_t file), void *ctx, const char *fault)
{
    hid_t file;
    (void)c, (void)n_objects, (void)fault;
    MUST(h5x_create(&file, path, MPI_COMM_NULL) == OK);
    MUST(make(ctx, file) == OK);
    return h5x_close(&file);
}

/* ---- words and texts ---- */

static void put_words(const char *name, const char *before, const char *behind)
{
    struct str words = {0};
    for (int i = 0; i < CONF_N_KEYS; i++) {
        str_addf(&words, "\"%s%s%s\"\n", before, CONF_KEYS[i].name, behind);
        if (CONF_KEYS[i].kind != CONF_CHOICE)
            continue;
        for (const char *at = CONF_KEYS[i].choices; *at != '\0'; at += *at == '|') {
            int n = (int)strcspn(at, "|");
            str_addf(&words, "\"%.*s\"\n", n, at);
            at += n;
        }
    }
    put_text(name, words.s);
    str_release(&words);
}

static void put_job(void)
{
    struct config c;
    struct conf_origins o;
    char *text;
    MUST(conf_load(&c, &o, NULL, NULL, 0) == OK);
    MUST(conf_text(&c, &o, &text) == OK);
    put_text("job/all", text);
    mem_free(text);
    put_words("job.dict", "", ": ");
    put_words("override.dict", "\\x0a", "=");
}

static void put_specs(void)
{
    static const char *const presets[] = {"gemma-2b", "gemma2-2b", "gemma3-1b"};
    struct model_spec spec;
    char *text, name[64];
    for (int i = 0; i < 3; i++) {
        MUST(spec_preset(&spec, presets[i]) == OK);
        MUST(spec_to_json(&spec, &text) == OK);
        snprintf(name, sizeof name, "spec/%s", presets[i]);
        put_text(name, text);
        mem_free(text);
    }
}

static void put_event(void)
{
    struct event e = {.step = 12,
                      .kind = "spike",
                      .action = "skip",
                      .value = 3.5,
                      .sample_first = 88,
                      .sample_n = 8,
                      .order_seed = 1,
                      .order_n = 100,
                      .text = "the loss rose"};
    char run[FS_PATH_MAX];
    MUST(fs_join(run, fuzz_dir(), "run") == OK);
    fuzz_file("run/metrics/events.jsonl", "", 0);
    MUST(events_append(run, &e) == OK);
    e.order_n = 0;
    MUST(events_append(run, &e) == OK);
    char *text;
    size_t n;
    MUST(fs_join(run, run, "metrics/events.jsonl") == OK);
    MUST(fs_read_file(run, 0, &text, &n) == OK);
    put_text("events/two", text);
    mem_free(text);
}

/* ---- weights ---- */

static int fill(void *ctx, size_t row, uint64_t first, size_t count, float *out)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++)
        out[i] = (float)(row + first + i);
    return OK;
}

static void put_weights(void)
{
    const struct st_row rows[] = {{.name = "a", .dtype = ST_F32, .n_dims = 2, .shape = {2, 3}},
                                  {.name = "b", .dtype = ST_BF16, .n_dims = 1, .shape = {4}},
                                  {.name = "c", .dtype = ST_F16, .n_dims = 1, .shape = {0}},
                                  {.name = "d", .dtype = ST_F16}};
    MUST(st_write(place("safetensors/four"), rows, 4, (struct st_source){.fill = fill}) == OK);
}

static void put_checkpoint(void)
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
    MUST(ckpt_write(&alone, place("checkpoint/tiny"), &set, NULL, NULL) == OK);
    mem_free(m->spec_json);
    mem_free(params);
    tensors_release(&table);
}

/* ---- data ---- */

static const char *next_text(void *left, size_t *n)
{
    static const char text[] = "the fox jumps over the dog, and the dog jumps over the fox\n";
    *n = sizeof text - 1;
    return (*(int *)left)-- > 0 ? text : NULL;
}

static void put_tokenizer(void **bytes, size_t *n)
{
    int repeats = 40;
    MUST(tokenizer_train(bytes, n, 300, next_text, &repeats) == OK);
    MUST(fs_write_file(place("tokenizer/trained"), *bytes, *n) == OK);
}

static void put_store(const char *name, int vocab, const void *tokenizer, size_t n)
{
    static const char *const sources[] = {"a.txt", "b.txt"};
    const struct store_facts facts = {.tokenizer = tokenizer,
                                      .tokenizer_bytes = n,
                                      .tokenizer_hash = "abc",
                                      .sources = sources,
                                      .n_sources = 2,
                                      .arguments = "a.txt b.txt"};
    const struct store_division division = {.seed = 1, .n_valid = 1};
    struct store_counts counts;
    struct store_writer *w;
    MUST(store_writer_new(&w, place(name), vocab) == OK);
    for (int32_t i = 0; i < 60; i++) {
        MUST(store_writer_add(w, &i, 1) == OK);
        if (i % 20 == 19)
            MUST(store_writer_end_document(w) == OK);
    }
    MUST(store_writer_finish(w, &facts, &division, &counts) == OK);
    store_writer_free(w);
}

/* ---- metrics ---- */

static void put_segment(void)
{
    struct segment s = {.attempt = 0, .rows = 3, .n_beside = {2, 3}};
    char run[FS_PATH_MAX], *bytes;
    double row[STEP_WIDTH] = {[M_LOSS] = 2.5};
    size_t n;
    MUST(fs_join(run, fuzz_dir(), "run") == OK);
    unlink(fuzz_file("run/metrics/seg-0000-0000.h5", "", 0));
    MUST(segment_create(&alone, &s, run) == OK);
    MUST(fs_read_file(s.path, 0, &bytes, &n) == OK);
    for (int i = 0; i < 2; i++) {
        row[M_STEP] = i + 1;
        metrics_seal(row, STEP_WIDTH);
        memcpy(bytes + segment_step_at(&s, i), row, sizeof row);
    }
    MUST(fs_write_file(place("segment/three"), bytes, n) == OK);
    mem_free(bytes);
}

int main(int argc, char **argv)
{
    void *tokenizer;
    size_t n;
    if (argc != 2)
        return fputs("seeds FOLDER\n", stderr), E_USAGE;
    folder = argv[1];
    MUST(comm_init(&alone, NULL, NULL) == OK);
    put_job();
    put_specs();
    put_event();
    put_weights();
    put_checkpoint();
    put_tokenizer(&tokenizer, &n);
    put_store("store/bytes", 200, NULL, 0);
    put_store("store/words", 70000, "model", 5);
    put_segment();
    mem_free(tokenizer);
    comm_end(&alone);
    return 0;
}
