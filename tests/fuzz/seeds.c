/* Writes files of each kind as carat writes them, for the fuzzers to begin with: seeds FOLDER, into
 * FOLDER/<fuzzer>/. Their checksums are those of tests/fuzz/sums.c. Also FOLDER/<fuzzer>.dict, the
 * words of a job file. */
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/config_file.h"
#include "files.h"
#include "fuzz.h"
#include "io/safetensors.h"
#include "model/spec.h"
#include "text/tokenizer.h"
#include "train/events.h"

#include <string.h>
#include <unistd.h>

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
    put_words("plan.dict", "", ": ");
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

/* ---- data ---- */

static const char *next_text(void *left, size_t *n)
{
    static const char text[] = "the fox jumps over the dog, and the dog jumps over the fox\n";
    *n = sizeof text - 1;
    return (*(int *)left)-- > 0 ? text : NULL;
}

static void put_tokenizer(void)
{
    int repeats = 40;
    void *bytes;
    size_t n;
    MUST(tokenizer_train(&bytes, &n, 300, next_text, &repeats) == OK);
    MUST(fs_write_file(place("tokenizer/trained"), bytes, n) == OK);
    mem_free(bytes);
}

/* ---- changes to HDF5 files ---- */

/* Each kind of file, each way to read it, each kind of change once. */
static void put_changes(void)
{
    for (int i = 0; i < 96; i++) {
        const uint8_t list[] = {(uint8_t)i, (uint8_t)(i / 3), (uint8_t)i, (uint8_t)(3 * i), 5};
        char name[32];
        snprintf(name, sizeof name, "shape/%d", i);
        MUST(fs_write_file(place(name), list, sizeof list) == OK);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return fputs("seeds FOLDER\n", stderr), E_USAGE;
    folder = argv[1];
    put_job();
    put_specs();
    put_event();
    put_weights();
    put_tokenizer();
    fuzz_write_store(place("store/bytes"), 200);
    fuzz_write_store(place("store/words"), 70000);
    fuzz_write_checkpoint(fuzz_alone(), place("checkpoint/tiny"));
    put_changes();
    fuzz_write_segment(fuzz_alone(), place("segment/three"));
    return 0;
}
